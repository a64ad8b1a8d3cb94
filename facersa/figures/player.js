// Moves the pictures of every player of the page that is not at work yet. All
// frames lie in the page: nothing is fetched, and no kernel is asked.
(() => {
  "use strict";
  const waiting = "figure.facersa-player:not([data-ready])";
  for (const player of document.querySelectorAll(waiting)) {
    player.dataset.ready = "yes";
    const data = player.querySelector("script[type='application/json']");
    const { values, pictures, frames } = JSON.parse(data.textContent);
    const picture = player.querySelector("img");
    const numbers = player.querySelector("dl");
    const sliders = [...player.querySelectorAll("input[type='range']")];

    const settle = (slider, index) => {
      const text = values[index][slider.valueAsNumber];
      slider.setAttribute("aria-valuetext", text);
      slider.parentElement.querySelector("output").textContent = text;
    };

    const show = () => {
      const place = sliders.reduce(
        (sum, slider) => sum * (Number(slider.max) + 1) + slider.valueAsNumber,
        0,
      );
      const [index, alt, rows] = frames[place];
      picture.src = "data:image/webp;base64," + pictures[index];
      picture.alt = alt;
      numbers.replaceChildren(
        ...rows.map(([label, value]) => {
          const row = document.createElement("div");
          const term = document.createElement("dt");
          const number = document.createElement("dd");
          term.textContent = label;
          number.textContent = value;
          row.append(term, number);
          return row;
        }),
      );
    };

    sliders.forEach((slider, index) => {
      slider.value = slider.defaultValue; // some browsers keep it over a reload
      slider.addEventListener("input", () => {
        settle(slider, index);
        show();
      });
    });
    player.querySelector(".facersa-controls").hidden = false;
  }
})();
