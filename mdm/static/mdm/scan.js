// Searching for the code on a device's box or back: with the camera, or from a photo of it. The
// button is there where the browser can read codes.
(() => {
  "use strict";
  const FORMATS = ["code_128", "code_39", "data_matrix", "qr_code"];
  // A picture every so often: reading one takes a phone a while.
  const EVERY = 250;
  const REFUSED = "The camera was not allowed. Allow it for this site in the browser's settings, or take a photo of the code.";
  const MISSING = "There is no camera that this page can use. Take a photo of the code.";

  // Apple's boxes say "S" before a serial number and "1P" before a part number, each in a code of
  // its own or in one with others; an IMEI has digits alone. The search finds any part of a serial
  // number, so one that begins with S is found as well.
  const serialNumber = (text) => {
    const words = text.toUpperCase().split(/[^A-Z0-9]+/);
    const marked = words.map((word) => /^S([A-Z0-9]{8,14})$/.exec(word)?.[1]).find(Boolean);
    return marked ?? words.find((word) => /^(?!1P)(?=.*[A-Z])(?=.*[0-9])[A-Z0-9]{8,14}$/.test(word));
  };

  const begin = (dialog, detector) => {
    const video = dialog.querySelector("video");
    const said = dialog.querySelector("[data-scan-said]");
    let stream = null;
    let watching = 0;

    const look = async (picture) => {
      const codes = await detector.detect(picture);
      const found = codes.map((code) => serialNumber(code.rawValue)).find(Boolean);
      if (found) search(found);
      return { found, any: codes.length > 0 };
    };
    const search = (text) => {
      dialog.close();
      const field = document.getElementById("search");
      field.value = text;
      field.form.requestSubmit();
    };
    const watch = async (round) => {
      if (round !== watching) return;
      try {
        const { found, any } = await look(video);
        if (found) return;
        if (any) said.textContent = "This code is not a serial number. Look for the one that is named Serial.";
      } catch {
        // A picture that is not there yet.
      }
      setTimeout(() => watch(round), EVERY);
    };
    const open = async () => {
      said.textContent = "Point the camera at the code of the serial number.";
      video.hidden = true;
      dialog.showModal();
      watching += 1;
      const round = watching;
      try {
        if (!navigator.mediaDevices) throw new DOMException("", "NotFoundError");
        const given = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
        if (round !== watching) { given.getTracks().forEach((track) => track.stop()); return; }
        stream = given;
        video.srcObject = given;
        video.hidden = false;
        await video.play();
        watch(round);
      } catch (error) {
        if (round === watching) said.textContent = error.name === "NotAllowedError" ? REFUSED : MISSING;
      }
    };
    dialog.addEventListener("close", () => {
      watching += 1;
      stream?.getTracks().forEach((track) => track.stop());
      stream = null;
      video.srcObject = null;
    });
    dialog.querySelector("[data-scan-close]").addEventListener("click", () => dialog.close());
    dialog.querySelector("[data-scan-photo]").addEventListener("change", async (event) => {
      const [photo] = event.target.files;
      if (!photo) return;
      try {
        const { found } = await look(await createImageBitmap(photo));
        if (!found) said.textContent = "No serial number was found in this photo. Go closer, so that its code fills the picture.";
      } catch {
        said.textContent = "This file is not a photo that the browser can read.";
      }
      event.target.value = "";
    });
    return open;
  };

  document.addEventListener("DOMContentLoaded", async () => {
    const button = document.querySelector("[data-scan]");
    const dialog = document.getElementById("scan");
    if (!button || !dialog || !("BarcodeDetector" in window)) return;
    const known = await window.BarcodeDetector.getSupportedFormats();
    const formats = FORMATS.filter((format) => known.includes(format));
    if (formats.length === 0) return;
    button.addEventListener("click", begin(dialog, new window.BarcodeDetector({ formats })));
    button.hidden = false;
  });
})();
