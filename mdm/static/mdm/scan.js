// Searching for the code on a device's box or back: with the camera, or from a photo of it. The
// browser reads the code where it can; elsewhere, as in Safari, a library does, which is loaded when
// someone first scans.
(() => {
  "use strict";
  const FORMATS = ["code_128", "code_39", "data_matrix", "qr_code"];
  // A picture every so often: reading one takes a phone a while.
  const EVERY = 250;
  // Pixels across that are enough to read any of these codes.
  const WIDEST = 1600;
  const REFUSED = "The camera was not allowed. Allow it for this site in the browser's settings, or take a photo of the code.";
  const UNREAD = "What reads codes could not be loaded. Close this and try again.";
  const MISSING = "There is no camera that this page can use. Take a photo of the code.";

  // Apple's boxes say "S" before a serial number and "1P" before a part number, each in a code of
  // its own or in one with others; an IMEI has digits alone. The search finds any part of a serial
  // number, so one that begins with S is found as well.
  const serialNumber = (text) => {
    const words = text.toUpperCase().split(/[^A-Z0-9]+/);
    const marked = words.map((word) => /^S([A-Z0-9]{8,14})$/.exec(word)?.[1]).find(Boolean);
    return marked ?? words.find((word) => /^(?!1P)(?=.*[A-Z])(?=.*[0-9])[A-Z0-9]{8,14}$/.test(word));
  };

  // The browser's own reader, or none.
  const ofBrowser = async () => {
    if (!("BarcodeDetector" in window)) return null;
    const known = await window.BarcodeDetector.getSupportedFormats();
    const formats = FORMATS.filter((format) => known.includes(format));
    return formats.length ? new window.BarcodeDetector({ formats }) : null;
  };

  // The same with the library's.
  const ofLibrary = async (address) => {
    await new Promise((loaded, failed) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = loaded;
      script.onerror = () => { script.remove(); failed(); };
      document.head.append(script);
    });
    const { ZXing } = window;
    const formats = FORMATS.map((format) => ZXing.BarcodeFormat[format.toUpperCase()]);
    const reader = new ZXing.MultiFormatReader();
    reader.setHints(new Map([[ZXing.DecodeHintType.POSSIBLE_FORMATS, formats], [ZXing.DecodeHintType.TRY_HARDER, true]]));
    const canvas = document.createElement("canvas");
    const brush = canvas.getContext("2d", { willReadFrequently: true });
    // It finds one code at a time: a box has several, one below the other.
    const BANDS = [[0, 1], [0, 0.3], [0.175, 0.3], [0.35, 0.3], [0.525, 0.3], [0.7, 0.3]];
    const detect = async (picture) => {
      const width = picture.videoWidth || picture.width;
      const height = picture.videoHeight || picture.height;
      const scale = Math.min(1, WIDEST / width);
      return BANDS.flatMap(([top, part]) => {
        canvas.width = width * scale;
        canvas.height = height * part * scale;
        brush.drawImage(picture, 0, height * top, width, height * part, 0, 0, canvas.width, canvas.height);
        const light = new ZXing.HybridBinarizer(new ZXing.HTMLCanvasElementLuminanceSource(canvas));
        try { return [{ rawValue: reader.decodeWithState(new ZXing.BinaryBitmap(light)).getText() }]; } catch { return []; }
      });
    };
    return { detect };
  };

  const begin = (dialog, find) => {
    const video = dialog.querySelector("video");
    const said = dialog.querySelector("[data-scan-said]");
    let detector = null;
    let stream = null;
    let watching = 0;

    const look = async (picture) => {
      detector ??= await find();
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
        if (round === watching && any) said.textContent = "This code is not a serial number. Look for the one that is named Serial.";
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
        detector ??= await find();
      } catch {
        if (round === watching) said.textContent = UNREAD;
        return;
      }
      // Whoever closed it meanwhile is not asked for the camera.
      if (round !== watching) return;
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
        said.textContent = detector ? "This file is not a photo that the browser can read." : UNREAD;
      }
      event.target.value = "";
    });
    return open;
  };

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-scan]");
    const dialog = document.getElementById("scan");
    if (!button || !dialog) return;
    const find = async () => await ofBrowser() ?? await ofLibrary(dialog.dataset.reader);
    button.addEventListener("click", begin(dialog, find));
    button.hidden = false;
  });
})();
