// The drawing area: white strokes on black, as the digits of the demo are, with a pointer or the keyboard.

const PEN = 22;
const STEP = 14;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Calls `changed` with the drawing, an RGB image, after each stroke, and with null when it is cleared. */
export class Drawing {
  #canvas;
  #context;
  #changed;
  #last = null;
  #keyboard = { x: 140, y: 140, down: false };

  constructor(canvas, changed) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
    this.#changed = changed;
    this.clear();
    canvas.addEventListener("pointerdown", (event) => this.#start(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => this.#end());
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  clear() {
    this.#context.fillStyle = "#000";
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#changed(null);
  }

  #start(event) {
    this.#canvas.setPointerCapture(event.pointerId);
    this.#last = this.#place(event);
    this.#stroke(this.#last, this.#last);
  }

  #move(event) {
    if (!this.#last) return;
    const next = this.#place(event);
    this.#stroke(this.#last, next);
    this.#last = next;
  }

  #end() {
    if (this.#last) this.#changed(this.#image());
    this.#last = null;
  }

  #key(event) {
    const pen = this.#keyboard;
    const move = ARROWS[event.key];
    if (move) {
      const from = { x: pen.x, y: pen.y };
      pen.x = Math.min(this.#canvas.width - PEN, Math.max(PEN, pen.x + STEP * move[0]));
      pen.y = Math.min(this.#canvas.height - PEN, Math.max(PEN, pen.y + STEP * move[1]));
      if (pen.down) this.#stroke(from, pen);
    } else if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) this.#stroke(pen, pen);
      else this.#changed(this.#image());
    } else if (event.key === "Delete" || event.key === "Backspace") {
      pen.down = false;
      this.clear();
    } else return;
    event.preventDefault();
    this.#canvas.setAttribute("aria-label", `Drawing area, pen ${pen.down ? "down" : "up"} at ${pen.x}, ${pen.y}`);
  }

  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    const scale = this.#canvas.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  }

  #stroke(from, to) {
    Object.assign(this.#context, { strokeStyle: "#fff", lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    this.#context.beginPath();
    this.#context.moveTo(from.x, from.y);
    this.#context.lineTo(to.x + 0.01, to.y);
    this.#context.stroke();
  }

  /** The square around what was drawn, because the digits that the model has learnt fill their frame. */
  #image() {
    const { width, height } = this.#canvas;
    const { data } = this.#context.getImageData(0, 0, width, height);
    let [left, top, right, bottom] = [width, height, -1, -1];
    for (let y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1) {
        if (data[4 * (y * width + x)] < 64) continue;
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
      }
    }
    if (right < 0) return null;
    const side = Math.max(right - left, bottom - top) + 1;
    const [x0, y0] = [Math.round((left + right + 1 - side) / 2), Math.round((top + bottom + 1 - side) / 2)];
    const made = new Uint8Array(3 * side * side);
    for (let y = 0; y < side; y += 1) {
      for (let x = 0; x < side; x += 1) {
        const inside = x + x0 >= 0 && x + x0 < width && y + y0 >= 0 && y + y0 < height;
        made.fill(inside ? data[4 * ((y + y0) * width + x + x0)] : 0, 3 * (y * side + x), 3 * (y * side + x) + 3);
      }
    }
    return { width: side, height: side, data: made };
  }
}
