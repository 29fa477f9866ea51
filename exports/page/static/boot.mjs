// Loads the page, and says so if a file of it, such as ONNX Runtime Web, is missing: a module whose imports fail never runs.

import("./page.mjs").catch((error) => {
  window.measured = { ready: null, firstInference: null, launched: null, error: String(error?.message ?? error) };
  document.getElementById("status").textContent = "This page could not be loaded.";
  document.getElementById("problem-text").textContent =
    `${window.measured.error}. A file of the page is missing on the server, or this browser is too old for it.`;
  document.getElementById("problem").hidden = false;
  document.getElementById("retry").onclick = () => location.reload();
  document.getElementById("clear").hidden = true;
});
