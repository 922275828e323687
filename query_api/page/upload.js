// Photos on their way in: picked, dropped or pasted, and shrunk before they leave the browser.

export const QUERY_SIDE_MAX = 640;
export const PRODUCT_SIDE_MAX = 1280;
const JPEG_QUALITY = 0.88;

/** A photo the page cannot use; the message says why. */
export class PhotoError extends Error {
  constructor(message) {
    super(message);
    this.code = "unreadable-photo";
  }
}

/**
 * The picture as a JPEG whose longest side is at most `sideMax` pixels, upright, on white where it was transparent.
 * Returns {blob, url, base64, width, height}; `url` lives until `release` is called.
 */
export async function shrink(file, sideMax = QUERY_SIDE_MAX) {
  const bitmap = await decode(file);
  const scale = Math.min(1, sideMax / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
  return { blob, url: URL.createObjectURL(blob), base64: await base64Of(blob), width: canvas.width, height: canvas.height };
}

async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new PhotoError("This file is no picture that the browser can read. JPEG, PNG and WebP work.");
  }
}

function base64Of(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new PhotoError("The picture could not be read."));
    reader.readAsDataURL(blob);
  });
}

const pictureIn = (transfer) => [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? null;

/** Paste anywhere and drop anywhere; `take(file)` gets the picture, `veil` is shown while one hovers over the page. */
export function listenForPhotos(veil, take) {
  document.addEventListener("paste", (event) => {
    const file = pictureIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    take(file);
  });
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!carriesFiles(event)) return;
    event.preventDefault();
    const file = pictureIn(event.dataTransfer);
    if (file) take(file);
  });
}

/** Gives the files picked with an <input type="file"> to `take`; the same file may be picked twice. */
export function listenForFiles(input, take) {
  input.addEventListener("change", () => {
    const [file] = input.files;
    input.value = "";
    if (file) take(file);
  });
}
