// The facts about a device, shown and entered.

import { bytes, element } from "./view.mjs";

const MIB = 2 ** 20;
const PLATFORMS = ["web", "android", "ios", "linux", "linux_iot"];

/** The fields of the form: the label, how a text becomes facts, and how facts become a text. */
const FIELDS = [
  { id: "platform", label: "Platform", choices: PLATFORMS },
  { id: "ram_bytes", label: "RAM in MiB", type: "number", scale: MIB },
  { id: "cores", label: "Processor cores", type: "number" },
  { id: "os_version", label: "OS version (Android: API level)" },
  { id: "soc_maker", label: "Maker of the system on a chip" },
  { id: "soc_model", label: "Model of the system on a chip" },
  { id: "device_maker", label: "Maker of the device" },
  { id: "device_model", label: "Model of the device" },
  { id: "features", label: "Features, separated by spaces" },
  { id: "probe", label: "Score in the probe", type: "number" },
  { id: "free_disk_bytes", label: "Free space in MiB", type: "number", scale: MIB },
  { id: "available_memory_bytes", label: "Available memory in MiB", type: "number", scale: MIB },
  { id: "engine_version", label: "Version of ONNX Runtime" },
];

export function describeFacts(facts, pretended) {
  const shown = {
    "Platform": facts.platform,
    "Memory": facts.ram_bytes && `${bytes(facts.ram_bytes)}${pretended ? "" : ", rounded by the browser"}`,
    "Processor cores": facts.cores,
    "OS version": facts.os_version,
    "Device": [facts.device_maker, facts.device_model].filter(Boolean).join(" "),
    "Features": facts.features?.join(", ") || "none of those that are asked for",
    "Probe": facts.probe && `${facts.probe.score} million multiply-adds a second in JavaScript (${facts.probe.id})`,
    "Space for models": facts.free_disk_bytes && bytes(facts.free_disk_bytes),
    "Engine": `${facts.engine} ${facts.engine_version ?? "of a version that is not reported"} on ${facts.compute_units.join(", ")}`,
  };
  return Object.entries(shown).map(([term, value]) => [term, value ? String(value) : "not reported"]);
}

export function makeFields(place) {
  for (const { id, label, type = "text", choices } of FIELDS) {
    const part = element("div");
    const limits = type === "number" ? { min: 0, step: 1 } : {};
    const input = choices ? element("select") : element("input", "", { type, ...limits });
    for (const choice of choices ?? []) input.append(element("option", choice, { value: choice }));
    input.id = `field-${id}`;
    part.append(element("label", label, { for: input.id }), input);
    place.append(part);
  }
}

/** Offer the platforms of a family that are not offered yet. */
export function addPlatforms(platforms) {
  const field = document.getElementById("field-platform");
  const offered = new Set(["any", ...Array.from(field.options, (option) => option.value)]);
  for (const name of new Set(platforms)) if (!offered.has(name)) field.append(element("option", name, { value: name }));
}

/** The facts in the form; an empty field is not reported, whatever this browser reports. */
export function readFields(probeId) {
  const facts = { engine: "onnxruntime", compute_units: ["wasm"] };
  for (const { id, type, scale = 1 } of FIELDS) {
    const text = document.getElementById(`field-${id}`).value.trim();
    if (text === "") facts[id] = null;
    else if (id === "features") facts.features = text.split(/\s+/);
    else if (id === "probe") facts.probe = { id: probeId, score: Number(text) };
    else facts[id] = type === "number" ? Math.round(Number(text) * scale) : text;
  }
  return facts;
}

export function fillFields(facts) {
  for (const { id, scale = 1, choices } of FIELDS) {
    const value = facts[id] ?? null;
    let shown = value;
    if (id === "features") shown = value?.join(" ");
    else if (id === "probe") shown = value?.score;
    else if (scale > 1 && value) shown = Math.floor(value / scale);
    document.getElementById(`field-${id}`).value = shown ?? (choices ? choices[0] : "");
  }
}

/** Facts that meet the first selector of a tier, with the RAM a little below its class, as kernels report it. */
export function factsOfTier(tier) {
  const selector = tier.match?.[0] ?? {};
  const soc = selector.soc_include?.[0] ?? {};
  const device = selector.device_include?.[0] ?? {};
  return {
    platform: tier.platform,
    ram_bytes: selector.ram_class_min ? selector.ram_class_min * MIB - 32 * MIB : null,
    cores: selector.cores_min ?? null,
    os_version: selector.os_min ?? null,
    soc_maker: soc.maker ?? null,
    soc_model: soc.model ?? null,
    device_maker: device.maker ?? null,
    device_model: device.model ?? null,
    features: selector.features_all ?? null,
    probe: selector.probe_min ?? null,
  };
}
