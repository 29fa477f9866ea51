import modelfactory.AlphaOrder
import modelfactory.Image
import modelfactory.Json
import modelfactory.ManifestException
import modelfactory.YuvLayout
import modelfactory.YuvRange
import modelfactory.alphaToRgb
import modelfactory.crop
import modelfactory.fit
import modelfactory.grayToRgb
import modelfactory.inputForm
import modelfactory.letterbox
import modelfactory.luma
import modelfactory.modelInput
import modelfactory.orientation
import modelfactory.resize
import modelfactory.upright
import modelfactory.yuvToRgb

/**
 * Answers one case of `vectors/preprocess.json` per line of standard input with its result, and two more operations,
 * `fit`, and `model_input` with `mean_ppm` and `std_ppm`, of which the latter gives a list of numbers. With `--time N`
 * it answers each case with the nanoseconds of N runs instead; the case then states the length of its data, `bytes`.
 */
object Pixels {
    @JvmStatic
    fun main(arguments: Array<String>) {
        val runs = if (arguments.firstOrNull() == "--time") arguments[1].toInt() else 0
        System.`in`.bufferedReader().forEachLine { line ->
            val case = Json.parse(line.toByteArray()) as Map<*, *>
            val found = if (runs > 0) times(case, runs) else result(attempt(case))
            println(Json.write(found))
        }
    }

    private fun times(case: Map<*, *>, runs: Int): List<Long> {
        val data = ByteArray((case["bytes"] as Long).toInt()) { (7 * it + it / 251).toByte() }
        return List(runs) {
            val start = System.nanoTime()
            answer(case, data)
            System.nanoTime() - start
        }
    }

    private fun result(found: Any?): Any? = when (found) {
        is Image -> mapOf("size" to listOf(found.height, found.width), "data" to hex(found.rgb))
        else -> found
    }

    private fun attempt(case: Map<*, *>): Any? = try {
        answer(case, bytes(case["data"] as String))
    } catch (error: IllegalArgumentException) {
        null
    } catch (error: ManifestException) {
        null
    }

    private fun answer(case: Map<*, *>, data: ByteArray): Any? {
        if (case["op"] == "orientation") return orientation(data)
        val (height, width) = integers(case["size"])
        return when (case["op"]) {
            "gray" -> grayToRgb(data, height, width)
            "alpha" -> {
                val order = AlphaOrder.valueOf(name(case["order"]))
                alphaToRgb(data, height, width, order, integers(case["background"]))
            }
            "yuv" -> yuvToRgb(
                data, height, width, YuvLayout.valueOf(name(case["layout"])), YuvRange.valueOf(name(case["levels"]))
            )
            else -> ofImage(case, Image(height, width, data))
        }
    }

    private fun ofImage(case: Map<*, *>, image: Image): Any? {
        if (case["op"] == "upright") return upright(image, (case["orientation"] as Long).toInt())
        if (case["op"] == "prepare") return prepared(case, image)
        if (case["op"] == "luma") return luma(image)
        val (height, width) = integers(case["to"])
        return when (case["op"]) {
            "resize" -> resize(image, height, width, case["antialias"] as Boolean)
            "crop" -> crop(image, height, width)
            "letterbox" -> letterbox(image, height, width, integers(case["colour"]).map { it.toByte() }.toByteArray())
            "fit" -> fit(image, height, width)
            else -> modelInput(image, width, longs(case["mean_ppm"]), longs(case["std_ppm"])).toList()
        }
    }

    private fun prepared(case: Map<*, *>, image: Image): Image {
        val (height, width) = longs(case["model"]).toList()
        val model = mapOf("input" to mapOf("height" to height, "width" to width))
        val values = inputForm(mapOf("preprocessing" to case["preprocessing"]), model).prepare(image).values
        val data = ByteArray(values.remaining()).also { values.get(it) }
        val gray = data.size.toLong() == height * width
        val (rows, columns) = Pair(height.toInt(), width.toInt())
        return if (gray) grayToRgb(data, rows, columns) else Image(rows, columns, data)
    }

    private fun name(value: Any?): String = (value as String).uppercase()

    private fun hex(data: ByteArray): String = data.joinToString("") { "%02x".format(it) }

    private fun bytes(hex: String): ByteArray =
        ByteArray(hex.length / 2) { hex.substring(2 * it, 2 * it + 2).toInt(16).toByte() }

    private fun integers(value: Any?): List<Int> = longs(value).map { it.toInt() }

    private fun longs(value: Any?): LongArray = (value as List<*>).map { it as Long }.toLongArray()
}
