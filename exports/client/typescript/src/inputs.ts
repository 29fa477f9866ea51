/** How an image becomes the input of a model, as a manifest states it. */

import type { Tensor } from "./engine.ts";
import { luma } from "./colour.ts";
import { member } from "./json.ts";
import { crop, fit, letterbox, modelInput, resize, type Colour, type Image } from "./preprocess.ts";
import { isString, ManifestError, needed, sizeIn } from "./fields.ts";

/** The steps of each version of the preprocessing: one of these. One of them leads to the base size. */
const STEPS: Readonly<Record<number, readonly string[]>> = {
  1: ["resize,resize_to_model,scale,normalise"],
  2: ["resize,resize_to_model"],
  3: ["crop,resize_to_model", "letterbox,resize_to_model"],
  4: ["gray,resize,resize_to_model", "gray,crop,resize_to_model", "gray,letterbox,resize_to_model"],
};
const FITTINGS: readonly string[] = ["resize", "crop", "letterbox"];
const CHANNELS = 3;

/** The input of a model, and what makes it from pixels. */
export class InputForm {
  /** How an image becomes the base size: `resize`, `crop` or `letterbox`. */
  readonly fitting: string;
  /** What `letterbox` does not cover. */
  readonly colour: Colour;
  readonly baseHeight: number;
  readonly baseWidth: number;
  /** The channels of the model's input: 3 for RGB, 1 for gray. */
  readonly channels: number;
  /** The height of the model's input. */
  readonly height: number;
  readonly width: number;
  /** The normalisation per channel in parts per million; null if the model takes pixels. */
  readonly normalise: { readonly mean: readonly number[]; readonly std: readonly number[] } | null;

  /**
   * @param task the manifest's `task`
   * @param model the manifest's description of the model
   * @throws ManifestError something is missing, or another preprocessing is needed than this client has
   */
  constructor(task: unknown, model: unknown) {
    const steps = stepsOf(member(task, "preprocessing"));
    const [fitting, first] = [...steps].find(([name]) => FITTINGS.includes(name)) as [string, unknown];
    this.fitting = fitting;
    this.colour = fitting === "letterbox" ? colourOf(first) : [0, 0, 0];
    this.baseHeight = sizeIn(first, "height");
    this.baseWidth = sizeIn(first, "width");
    this.channels = steps.has("gray") ? 1 : CHANNELS;
    this.height = sizeIn(member(model, "input"), "height");
    this.width = sizeIn(member(model, "input"), "width");
    const normalise = steps.get("normalise");
    this.normalise =
      normalise === undefined ? null : { mean: channels(normalise, "mean_ppm"), std: channels(normalise, "std_ppm") };
    if (this.normalise?.std.some((value) => value <= 0)) throw new ManifestError("normalise.std_ppm");
    if (this.normalise && this.height !== this.width) throw new ManifestError("input.height");
  }

  get dtype(): "uint8" | "float32" {
    return this.normalise ? "float32" : "uint8";
  }

  /** The size of one input in bytes. */
  get inputBytes(): number {
    return this.height * this.width * this.channels * (this.normalise ? 4 : 1);
  }

  /** Whether an entry of the samples has inputs of this form. */
  takes(entry: unknown): boolean {
    const { height, width, dtype } = this;
    return member(entry, "height") === height && member(entry, "width") === width && member(entry, "dtype") === dtype;
  }

  /** The input for an image of any size. */
  prepare(image: Image): Tensor {
    const { baseHeight, baseWidth, channels, height, width, normalise } = this;
    if (normalise) {
      return this.#tensor(modelInput(fit(image, baseHeight, baseWidth), width, normalise.mean, normalise.std));
    }
    const gray = channels === 1;
    const { data } = resize(this.#fitted(gray ? luma(image) : image), height, width);
    return this.#tensor(gray ? data.filter((_, index) => index % CHANNELS === 0) : data);
  }

  #fitted(image: Image): Image {
    const { baseHeight, baseWidth, fitting, colour } = this;
    if (fitting === "crop") return crop(image, baseHeight, baseWidth);
    if (fitting === "letterbox") return letterbox(image, baseHeight, baseWidth, colour);
    return resize(image, baseHeight, baseWidth, true);
  }

  /** `count` inputs from raw little-endian values. */
  unpack(data: Uint8Array, count: number): Tensor[] {
    return Array.from({ length: count }, (_, index) => {
      const part = data.slice(index * this.inputBytes, (index + 1) * this.inputBytes);
      if (!this.normalise) return this.#tensor(part);
      const view = new DataView(part.buffer);
      return this.#tensor(Float32Array.from({ length: part.length / 4 }, (_item, k) => view.getFloat32(4 * k, true)));
    });
  }

  /** An input of zeros. */
  zeros(): Tensor {
    const count = this.height * this.width * this.channels;
    return this.#tensor(this.normalise ? new Float32Array(count) : new Uint8Array(count));
  }

  #tensor(data: Uint8Array | Float32Array): Tensor {
    const { channels, height, width } = this;
    return this.normalise
      ? { type: "float32", data, dims: [1, channels, height, width] }
      : { type: "uint8", data, dims: [1, height, width, channels] };
  }
}

/** The steps by name, if they are those of a known version. */
function stepsOf(preprocessing: unknown): Map<string, unknown> {
  const [version, steps] = [member(preprocessing, "version"), needed(preprocessing, "steps", Array.isArray)];
  const names = steps.map((step: unknown) => member(step, "op"));
  const expected = typeof version === "number" ? STEPS[version] : undefined;
  const known = expected !== undefined && names.every(isString) && expected.includes(names.join(","));
  if (!known || (version === 1 && member(steps[2], "divisor") !== 255)) {
    throw new Error("the manifest needs a preprocessing that this client does not know; update the app");
  }
  return new Map(steps.map((step: unknown, index: number) => [names[index] ?? "", step]));
}

function colourOf(step: unknown): Colour {
  const values = channels(step, "colour");
  if (values.some((value) => value < 0 || value > 255)) throw new ManifestError("letterbox.colour");
  return values as unknown as Colour;
}

function channels(step: unknown, key: string): readonly number[] {
  const values = needed(step, key, Array.isArray) as unknown[];
  if (values.length !== CHANNELS || !values.every((value) => Number.isSafeInteger(value))) throw new ManifestError(key);
  return values as number[];
}
