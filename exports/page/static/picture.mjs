// Pictures that are chosen, dropped or pasted, as RGB images.

/** The longest side that is read: a canvas of more would need hundreds of megabytes. */
const MAX_SIDE = 4096;

/** The RGB pixels of a picture, upright by its EXIF orientation, over white where it is transparent. */
export async function readPicture(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error("This file is not a picture that this browser can read. Try a PNG or JPEG file.");
  }
  const scale = Math.min(1, MAX_SIDE / Math.max(bitmap.width, bitmap.height));
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return fromRgba(context.getImageData(0, 0, width, height));
}

function fromRgba({ width, height, data }) {
  const made = new Uint8Array(3 * width * height);
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    made[3 * pixel] = data[4 * pixel];
    made[3 * pixel + 1] = data[4 * pixel + 1];
    made[3 * pixel + 2] = data[4 * pixel + 2];
  }
  return { width, height, data: made };
}

/** Shows an RGB image on a canvas. */
export function showImage(canvas, { width, height, data }) {
  Object.assign(canvas, { width, height });
  const shown = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    for (let channel = 0; channel < 3; channel += 1) shown.data[4 * pixel + channel] = data[3 * pixel + channel];
    shown.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(shown, 0, 0);
}

/** Calls `take` with each picture that a person chooses, drops on the page or pastes. */
export function onPictures(input, zone, take) {
  input.addEventListener("change", () => {
    if (input.files[0]) take(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", () => zone.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files[0]) take(event.clipboardData.files[0]);
  });
}
