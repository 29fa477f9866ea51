package modelfactory

import java.io.File
import java.io.IOException
import java.util.Locale

/**
 * The facts that a JVM outside Android can gather; the engine's are not among them. On Android, README.md shows which
 * interface gives each fact.
 *
 * @param folder the folder of the store; free disk space is that of its file system.
 */
fun jvmFacts(folder: File): DeviceFacts = DeviceFacts(
    platform = platform(System.getProperty("os.name")),
    ramBytes = memoryLine("MemTotal"),
    cores = Runtime.getRuntime().availableProcessors().toLong(),
    osVersion = Regex("[0-9]+(\\.[0-9]+)*").find(System.getProperty("os.version"))?.value,
    freeDiskBytes = folder.usableSpace,
    availableMemoryBytes = memoryLine("MemAvailable"),
)

/** The names of Python's `sys.platform`, which manifests use for computers. */
private fun platform(name: String): String = when {
    name.startsWith("Windows") -> "win32"
    name.startsWith("Mac") -> "darwin"
    else -> name.lowercase(Locale.ROOT)
}

/** A value of Linux's `/proc/meminfo` in bytes; null on other systems. */
private fun memoryLine(name: String): Long? = try {
    val line = File("/proc/meminfo").readLines().firstOrNull { it.startsWith("$name:") }
    line?.filter { it in '0'..'9' }?.toLongOrNull()?.times(1024)
} catch (other: IOException) {
    null
}
