/** How the tokens of a text become the input of a model. The app has the tokenizer; its file is one of the family. */

import type { Tensor } from "./engine.ts";
import { count, isString, ManifestError, needed } from "./fields.ts";
import { member } from "./json.ts";

/** The most tokens of an input: half a megabyte. */
const MAX_LENGTH = 1 << 16;
const BYTES = 8;

/** The input of a model that takes tokens. */
export class TokenForm {
  /** The number of tokens that the model takes: the first of those of a text. */
  readonly length: number;
  /** The number of tokens to which the app's tokenizer truncates a text, and up to which it is padded. */
  readonly textLength: number;
  /** The token that fills a text up. */
  readonly padding: number;
  /** The number of tokens; all are below it. */
  readonly vocabulary: number;

  /**
   * @param task the manifest's `task`
   * @param model the manifest's description of the model
   * @throws ManifestError something is missing, or another tokenizer is needed than this client knows
   */
  constructor(task: unknown, model: unknown) {
    const [input, tokenizer] = [member(task, "input"), member(task, "tokenizer")];
    if (needed(tokenizer, "format", isString) !== "tokenizers_json" || needed(input, "dtype", isString) !== "int64") {
      throw new Error("the manifest needs a tokenizer that this client does not know; update the app");
    }
    this.length = count(member(model, "input"), "length");
    this.textLength = count(input, "length");
    this.padding = count(input, "padding");
    this.vocabulary = count(input, "vocabulary");
    const fits = this.length > 0 && this.length <= this.textLength && this.textLength <= MAX_LENGTH;
    if (!fits || this.padding >= this.vocabulary) throw new ManifestError("input of tokens");
  }

  /** The size of one input in bytes. */
  get inputBytes(): number {
    return this.length * BYTES;
  }

  /** Whether an entry of the samples has inputs of this form. */
  takes(entry: unknown): boolean {
    return member(entry, "length") === this.length && member(entry, "dtype") === "int64";
  }

  /**
   * The input for the tokens of a text, which the app's tokenizer returned.
   *
   * @throws Error there are more tokens than `textLength`, or some that the model does not know
   */
  prepare(tokens: ArrayLike<number>): Tensor {
    const given = Array.from(tokens);
    if (given.length > this.textLength) {
      throw new Error(`there are ${given.length} tokens, at most ${this.textLength} are allowed; truncate them`);
    }
    if (!given.every((token) => Number.isInteger(token) && token >= 0 && token < this.vocabulary)) {
      throw new Error(`a token is not an integer in 0 to ${this.vocabulary - 1}`);
    }
    const padded = Array.from({ length: this.length }, (_, index) => BigInt(given[index] ?? this.padding));
    return this.#tensor(BigInt64Array.from(padded));
  }

  /** `count` inputs from raw little-endian values. */
  unpack(data: Uint8Array, count: number): Tensor[] {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    return Array.from({ length: count }, (_, index) => {
      const start = index * this.length;
      const token = (_item: unknown, k: number): bigint => view.getBigInt64((start + k) * BYTES, true);
      return this.#tensor(BigInt64Array.from({ length: this.length }, token));
    });
  }

  /** An input of padding alone. */
  zeros(): Tensor {
    return this.prepare([]);
  }

  #tensor(data: BigInt64Array): Tensor {
    return { type: "int64", data, dims: [1, this.length] };
  }
}
