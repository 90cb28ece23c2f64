// Says so where the page cannot run at all. A classic script in old syntax, so that old browsers can read it too.
(function () {
  "use strict";

  var SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

  function missing() {
    if (location.protocol === "file:") {
      return ["This page needs a web server", "Browsers do not run it from a file. Serve its folder, or start: recbole-odrec demo --bundle DIR", location.href];
    }
    if (!("noModule" in document.createElement("script"))) return unsupported("JavaScript modules");
    if (typeof WebAssembly !== "object" || !WebAssembly.validate(new Uint8Array(SIMD))) return unsupported("WebAssembly SIMD");
    if (typeof BigInt64Array === "undefined") return unsupported("64-bit integers");
    if (!window.isSecureContext) {
      return ["Open this page over https or on localhost", "Elsewhere the browser offers no way to check that the model arrived undamaged.", location.origin];
    }
    return null;
  }

  function unsupported(what) {
    return ["This browser is too old for the model", "Use a current Chrome, Edge, Firefox or Safari.", "Missing: " + what];
  }

  var problem = missing();
  if (!problem) return;
  document.documentElement.setAttribute("data-state", "refused");
  document.addEventListener("DOMContentLoaded", function () {
    document.getElementById("problem-title").textContent = problem[0];
    document.getElementById("problem-text").textContent = problem[1];
    document.getElementById("problem-detail").textContent = problem[2];
    document.getElementById("problem").hidden = false;
  });
})();
