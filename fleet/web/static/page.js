// What every page does by itself; without it all is there, only older and in the server's time.
"use strict";
(() => {
  // Times of the server become times of the person who looks; the exact moment stays in the title.
  const format = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const localise = (root) => {
    for (const element of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(element.dateTime);
      if (!Number.isNaN(moment.valueOf())) element.textContent = format.format(moment);
    }
  };
  localise(document);

  // Nobody looks at a hidden tab: it asks for nothing.
  const stale = document.getElementById("stale");
  document.addEventListener("htmx:before:request", (event) => {
    if (document.hidden) event.preventDefault();
  });
  document.addEventListener("htmx:after:swap", () => {
    stale.hidden = true;
    localise(document);
    document.dispatchEvent(new Event("page:fresh"));
  });
  for (const name of ["htmx:error", "htmx:response:error"]) {
    document.addEventListener(name, () => { stale.hidden = false; });
  }

  // A choice in the filter is taken at once; with a keyboard too, since Show stays there.
  document.addEventListener("change", (event) => {
    if (event.target.matches(".filter select")) event.target.form.requestSubmit();
  });
})();
