// The interfaces of Android that README.md of the Kotlin client uses, without content.
@file:Suppress("UNUSED_PARAMETER")

package android

class Bitmap {
    val width = 0
    val height = 0

    fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int) = Unit
}

class Context {
    val noBackupFilesDir = java.io.File("")

    fun <T> getSystemService(type: Class<T>): T = throw UnsupportedOperationException()
}

class ActivityManager {
    class MemoryInfo {
        @JvmField val totalMem = 0L
        @JvmField val availMem = 0L
        @JvmField val threshold = 0L
    }

    fun getMemoryInfo(memory: MemoryInfo) = Unit
}

object Build {
    const val UNKNOWN = "unknown"
    val MANUFACTURER = ""
    val MODEL = ""
    val SOC_MANUFACTURER = ""
    val SOC_MODEL = ""

    object VERSION {
        val SDK_INT = 0
    }
}
