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
    const sliders = [
      ...player.querySelectorAll("input[type='range'], select"),
    ];
    const menu = (slider) => slider.tagName === "SELECT";
    const at = (slider) =>
      menu(slider) ? slider.selectedIndex : slider.valueAsNumber;

    const settle = (slider, index) => {
      if (menu(slider)) return; // it shows its own text
      const text = values[index][at(slider)];
      slider.setAttribute("aria-valuetext", text);
      slider.parentElement.querySelector("output").textContent = text;
    };

    const show = () => {
      const place = sliders.reduce(
        (sum, slider, index) => sum * values[index].length + at(slider),
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
      // Some browsers keep a value over a reload.
      if (menu(slider)) {
        slider.selectedIndex = [...slider.options].findIndex(
          (option) => option.defaultSelected,
        );
      } else slider.value = slider.defaultValue;
      slider.addEventListener("input", () => {
        settle(slider, index);
        show();
      });
    });
    player.querySelector(".facersa-controls").hidden = false;
  }
})();
