import modelfactory.Image
import modelfactory.Json
import modelfactory.fit
import modelfactory.modelInput
import modelfactory.resize

/**
 * Preprocesses one image per line of standard input, `{"op", "from": [height, width], "to": [height, width], "rgb"}`,
 * and prints the list of values. The operation is `resize` (with `antialias`), `fit`, or `model_input` (with `mean_ppm`
 * and `std_ppm`).
 */
object Pixels {
    @JvmStatic
    fun main(arguments: Array<String>) {
        System.`in`.bufferedReader().forEachLine { line ->
            println(Json.write(result(Json.parse(line.toByteArray()) as Map<*, *>)))
        }
    }

    private fun result(case: Map<*, *>): List<Any> {
        val (fromHeight, fromWidth) = longs(case["from"]).map { it.toInt() }
        val (height, width) = longs(case["to"]).map { it.toInt() }
        val rgb = longs(case["rgb"]).map { it.toByte() }.toByteArray()
        val image = Image(fromHeight, fromWidth, rgb)
        return when (case["op"]) {
            "resize" -> bytes(resize(image, height, width, case["antialias"] as Boolean))
            "fit" -> bytes(fit(image, height, width))
            else -> modelInput(image, width, longs(case["mean_ppm"]), longs(case["std_ppm"])).toList()
        }
    }

    private fun bytes(image: Image): List<Int> = image.rgb.map { it.toInt() and 255 }

    private fun longs(value: Any?): LongArray = (value as List<*>).map { it as Long }.toLongArray()
}
