/**
 * Whether a device meets a selector of a tier.
 *
 * Every key has one of three values: it holds, it does not hold, or it is unknown because the device does not report
 * the fact. A selector with anything that this client does not understand does not match, so an old app gets a lower
 * tier, never a heavier one.
 */
import { isObject, member } from "./json.js";
import { compareVersions, integer, isVersion, lower } from "./values.js";
/** The sizes of RAM with which devices are sold, in MiB. A part of the contract: selectors compare these classes. */
const RAM_CLASSES_MIB = [256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 65536];
const LARGEST_CLASS_MIB = 65536;
const MIB = 2 ** 20;
/** The most characters of the manifest that a message quotes. */
export const SHOWN = 40;
/** The keys in the order in which they are judged. A part of the contract: the first that does not hold decides. */
const KEYS = new Map([
    ["platforms", {
            understands: areNames,
            holds: (wanted, facts) => wanted.some((platform) => isOn(facts, platform)),
        }],
    ["ram_class_min", {
            understands: isInteger,
            holds: (wanted, facts) => ifKnown(facts.ramBytes, (ram) => ramClassMib(ram) >= wanted),
        }],
    ["ram_class_max", {
            understands: isInteger,
            holds: (wanted, facts) => ifKnown(facts.ramBytes, (ram) => ramClassMib(ram) < wanted),
        }],
    ["cores_min", {
            understands: isInteger,
            holds: (wanted, facts) => ifKnown(facts.cores, (cores) => cores >= wanted),
        }],
    ["os_min", {
            understands: isVersion,
            holds: (wanted, facts) => ifKnown(facts.osVersion, (os) => compareVersions(os, wanted) >= 0),
        }],
    ["soc_include", {
            understands: areProducts,
            holds: (wanted, facts) => isListed(wanted, facts.socMaker, facts.socModel),
        }],
    ["soc_exclude", {
            understands: areProducts, excludes: true,
            holds: (wanted, facts) => negated(isListed(wanted, facts.socMaker, facts.socModel)),
        }],
    ["device_include", {
            understands: areProducts,
            holds: (wanted, facts) => isListed(wanted, facts.deviceMaker, facts.deviceModel),
        }],
    ["device_exclude", {
            understands: areProducts, excludes: true,
            holds: (wanted, facts) => negated(isListed(wanted, facts.deviceMaker, facts.deviceModel)),
        }],
    ["features_all", {
            understands: areNames,
            holds: (wanted, facts) => ifKnown(facts.features, (found) => wanted.every((name) => found.includes(name))),
        }],
    ["features_none", {
            understands: areNames, excludes: true,
            holds: (wanted, facts) => ifKnown(facts.features, (found) => !wanted.some((name) => found.includes(name))),
        }],
    ["probe_min", {
            understands: isProbe,
            holds: (wanted, facts) => (facts.probe?.id === wanted.id ? facts.probe.score >= wanted.score : undefined),
        }],
    ["strict", {
            understands: (value) => typeof value === "boolean",
            holds: () => true,
        }],
]);
/** Why a device does not meet a selector; undefined if it does. An empty selector is met by all. */
export function selectorFault(selector, facts) {
    if (!isObject(selector)) {
        return { code: "selector_key_unknown", text: "its selector has a form that this app does not know" };
    }
    const fault = notUnderstood(selector);
    if (fault)
        return fault;
    for (const [name, key] of KEYS) {
        const wanted = member(selector, name) ?? null;
        if (wanted === null)
            continue;
        const holds = key.holds(wanted, facts);
        if (holds === true || (holds === undefined && key.excludes && member(selector, "strict") !== true))
            continue;
        if (holds === undefined) {
            return { code: "selector_unknown", text: `the device does not report what ${name} depends on` };
        }
        return { code: "selector_unmet", text: `the device does not meet ${name} ${plain(name, wanted)}` };
    }
    return undefined;
}
/** What a selector that is understood asks for, for people. */
export function plainSelector(selector) {
    const given = [...KEYS.keys()].map((name) => [name, member(selector, name)]).filter(([, value]) => value);
    return given.map(([name, value]) => `${name} ${plain(name, value)}`).join(", ") || "an empty selector";
}
function notUnderstood(selector) {
    for (const [name, wanted] of Object.entries(selector)) {
        const key = KEYS.get(name);
        if (key === undefined) {
            const text = `its selector has the key "${name.slice(0, SHOWN)}", which this app does not know`;
            return { code: "selector_key_unknown", text };
        }
        if (wanted !== null && !key.understands(wanted)) {
            return { code: "selector_key_unknown", text: `its selector has a value of ${name} that this app does not know` };
        }
    }
    return undefined;
}
function plain(name, value) {
    if (Array.isArray(value)) {
        return value.map((item) => (isObject(item) ? Object.values(item).join(" ") : String(item))).join(", ");
    }
    if (isObject(value))
        return Object.values(value).join(" ");
    return name.startsWith("ram_class") ? `${String(value)} MiB` : String(value);
}
/** Whether the device is known to be of this platform. */
export function isOn(facts, platform) {
    return facts.platform !== "" && platform === facts.platform;
}
/** The RAM that the system reports, rounded up to the next class in MiB; the last class if it is above. */
export function ramClassMib(ramBytes) {
    return RAM_CLASSES_MIB.find((size) => ramBytes <= size * MIB) ?? LARGEST_CLASS_MIB;
}
/** Whether a maker's model is in the list; there, an empty or absent model means all models of the maker. */
function isListed(wanted, maker, model) {
    if (maker === undefined)
        return undefined;
    const models = wanted.filter((entry) => lower(entry.maker) === lower(maker)).map((entry) => entry.model ?? "");
    if (models.includes(""))
        return true;
    if (models.length > 0 && model === undefined)
        return undefined;
    return models.some((found) => lower(found) === lower(model ?? ""));
}
function ifKnown(fact, holds) {
    return fact === undefined ? undefined : holds(fact);
}
function negated(holds) {
    return holds === undefined ? undefined : !holds;
}
function isInteger(value) {
    return integer(value) !== undefined;
}
function areNames(value) {
    return Array.isArray(value) && value.every((name) => typeof name === "string");
}
function areProducts(value) {
    return (Array.isArray(value) &&
        value.every((entry) => typeof member(entry, "maker") === "string" &&
            Object.keys(entry).every((key) => key === "maker" || key === "model") &&
            (member(entry, "model") === undefined || typeof member(entry, "model") === "string")));
}
function isProbe(value) {
    return (isObject(value) && Object.keys(value).length === 2 && typeof member(value, "id") === "string" &&
        isInteger(member(value, "score")));
}
