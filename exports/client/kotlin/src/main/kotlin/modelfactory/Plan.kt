package modelfactory

/** The file that names all others. */
internal const val MANIFEST = "manifest.json"

/** What is appended to the name of a file that is not complete yet. */
internal const val PART = ".part"

/** The most characters of a name; the longest name of common file systems has as many bytes. */
private const val MAX_NAME = 255

/** No ONNX file is larger: protobuf allows 2 GiB. */
private const val MAX_MODEL_BYTES = 1L shl 31

/** The largest file of labels, samples or a tokenizer: expected outputs of 50 models for 10,000 classes have 36 MB. */
internal const val MAX_OTHER_BYTES = 1 shl 26

/** Samples that a proof may run: a launch waits for it. */
private const val MAX_SAMPLES = 64

/** Blocks of a file: more would not fit into a manifest. */
private const val MAX_BLOCKS = 1 shl 12
private val SHA256 = Regex("[0-9a-f]{64}")

/** The manifest lacks something that a launch needs, or has it in a form that is not allowed. */
internal class ManifestException(message: String) : Exception(message)

/**
 * A file of the release.
 *
 * @property name its path below the manifest's folder.
 * @property size its size in bytes.
 * @property blockBytes the size of its blocks; 0 if the manifest states none.
 * @property blocks the digest of each block.
 */
internal data class NeededFile(
    val name: String,
    val size: Long,
    val sha256: String,
    val blockBytes: Long = 0,
    val blocks: List<String> = emptyList(),
)

/** What a proof runs: PNG files to be preprocessed or, if [tensors], one file with [count] inputs. */
internal class Samples(val tensors: Boolean, val inputs: List<NeededFile>, val count: Int, val expected: NeededFile)

/**
 * All that a model needs.
 *
 * @property model its id.
 * @property files its files; the engine opens the first.
 * @property labels the labels; null if they are in [labelsFile].
 * @property tokenizer the file of the tokenizer; null if the model takes images.
 * @property samples null if the family has none.
 * @property form how pixels or tokens become its input.
 * @property decoding what its outputs mean.
 * @property input the name of its input.
 * @property output the name of its output.
 */
internal class Plan(
    val model: String,
    val files: List<NeededFile>,
    val labels: List<String>?,
    val labelsFile: NeededFile?,
    val tokenizer: NeededFile?,
    val samples: Samples?,
    val form: Form,
    val decoding: Decoding,
    val input: String,
    val output: String,
) {
    /** The files to be stored, each once, with or without the samples. */
    fun needed(withSamples: Boolean): List<NeededFile> {
        val proof = if (withSamples && samples != null) samples.inputs + samples.expected else emptyList()
        return (files + listOfNotNull(labelsFile, tokenizer) + proof).distinctBy { it.name }
    }
}

/** The plan for a model that the resolver chose. A manifest is foreign: every value is checked before it is used. */
internal fun planModel(manifest: Map<*, *>, name: String): Plan {
    val task = manifest.map("task")
    val model = manifest.map("models").map(name)
    val tokenizer = task["tokenizer"]?.let { neededFile(task.map("tokenizer")["file"], MAX_OTHER_BYTES.toLong()) }
    val form = if (tokenizer == null) inputForm(task, model) else tokenForm(task, model)
    val labelsFile = if ("labels_file" in task) neededFile(task["labels_file"], MAX_OTHER_BYTES.toLong()) else null
    val plan = Plan(
        model = name,
        files = model.some("files").map { neededFile(it, MAX_MODEL_BYTES) },
        labels = if (labelsFile == null) labelNames(task["labels"]) else null,
        labelsFile = labelsFile,
        tokenizer = tokenizer,
        samples = manifest["samples"]?.let { samples(it, form) },
        form = form,
        decoding = decoding(task),
        input = task.map("input").text("name"),
        output = outputName(task),
    )
    val proof = plan.samples?.let { it.inputs + it.expected } ?: emptyList()
    val all = plan.files + listOfNotNull(labelsFile, tokenizer) + proof
    if (all.distinctBy { it.name }.size < all.distinctBy { Triple(it.name, it.sha256, it.size) }.size) {
        throw ManifestException("the manifest gives two files the same name; download the family again")
    }
    return plan
}

/** The names of the classes, in the order of the logits. */
internal fun labelNames(value: Any?): List<String> {
    val names = (value as? List<*>)?.filterIsInstance<String>()
    if (names.isNullOrEmpty() || names.size < value.size) {
        throw ManifestException("the labels are not a list of names; download the family again")
    }
    return names
}

/** Every file that a manifest names in a form that is understood. */
internal fun filesNamed(manifest: Any?): List<NeededFile> = when (manifest) {
    is Map<*, *> -> {
        val (name, digest, size) = listOf(manifest["name"], manifest["sha256"], Json.integer(manifest["bytes"]))
        if (name is String && digest is String && size is Long) {
            listOf(NeededFile(name, size, digest)).filter { FILE_NAME.matches(name) }
        } else {
            manifest.values.flatMap(::filesNamed)
        }
    }
    is List<*> -> manifest.flatMap(::filesNamed)
    else -> emptyList()
}

/** The name of the output: of the only one if there is a list. */
private fun outputName(task: Map<*, *>): String {
    val first = if (task["outputs"] == null) task.map("output") else task.some("outputs")[0] as? Map<*, *>
    return (first ?: throw lacks("outputs")).text("name")
}

private fun samples(value: Any, form: Form): Samples {
    val json = value as? Map<*, *> ?: throw lacks("samples")
    val kind = if ("kind" in json) json["kind"] else "images"
    val tensors = kind == "tensors"
    if (!tensors && (kind != "images" || form !is InputForm)) {
        throw ManifestException("the manifest has samples of a kind that this app does not know; update the app")
    }
    val all = json.some("inputs")
    val inputs = if (tensors) all.filter(form::takes).take(1) else all
    val first = inputs.firstOrNull() as? Map<*, *> ?: throw lacks("samples.inputs")
    val count = if (tensors) Json.integer(first["count"]) ?: throw lacks("count") else inputs.size.toLong()
    val files = inputs.map { neededFile(it, MAX_OTHER_BYTES.toLong()) }
    if (count !in 1..MAX_SAMPLES || (tensors && files[0].size != count * form.inputBytes)) throw lacks("samples.inputs")
    return Samples(tensors, files, count.toInt(), neededFile(json["expected"], MAX_OTHER_BYTES.toLong()))
}

private fun neededFile(value: Any?, limit: Long): NeededFile {
    val json = value as? Map<*, *> ?: throw lacks("file")
    val (name, digest) = json.text("name") to json.text("sha256")
    if (!FILE_NAME.matches(name) || name.length > MAX_NAME || name == MANIFEST || name.endsWith(PART)) {
        throw ManifestException("the file name ${name.take(SHOWN)} is not allowed: it could lead out of the family")
    }
    val size = Json.integer(json["bytes"]) ?: throw lacks("bytes")
    if (size !in 1..limit || !SHA256.matches(digest)) throw lacks("size or digest of $name")
    val (blockBytes, blocks) = blocks(json["blocks"], size)
    return NeededFile(name, size, digest, blockBytes, blocks)
}

/** The size and the digests of the blocks; 0 and none if they do not fit to the file, which works without them. */
private fun blocks(value: Any?, size: Long): Pair<Long, List<String>> {
    val none = Pair(0L, emptyList<String>())
    val json = value as? Map<*, *> ?: return none
    val bytes = Json.integer(json["bytes"])?.takeIf { it > 0 } ?: return none
    val digests = strings(json["sha256"]) ?: return none
    val count = (size - 1) / bytes + 1
    val fits = digests.size.toLong() == count && count <= MAX_BLOCKS && digests.all(SHA256::matches)
    return if (fits) Pair(bytes, digests) else none
}

internal fun lacks(what: String) = ManifestException("the manifest has no usable $what; download the family again")

internal fun Map<*, *>.map(key: String): Map<*, *> = this[key] as? Map<*, *> ?: throw lacks(key)

internal fun Map<*, *>.text(key: String): String = this[key] as? String ?: throw lacks(key)

/** The list at a key, which must not be empty. */
internal fun Map<*, *>.some(key: String): List<*> = (this[key] as? List<*>)?.ifEmpty { null } ?: throw lacks(key)
