import java.io.File
import modelfactory.ImageException
import modelfactory.Json
import modelfactory.image

/** Decodes the PNG files whose paths are given and prints for each the list of its bytes, or why there are none. */
object PngPixels {
    @JvmStatic
    fun main(arguments: Array<String>) {
        for (path in arguments) {
            println(Json.write(values(File(path).readBytes())))
        }
    }

    private fun values(data: ByteArray): Any? = try {
        image(data).rgb.map { it.toInt() and 255 }
    } catch (error: ImageException) {
        error.message
    }
}
