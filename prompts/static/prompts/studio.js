// Variable chips, live lint and the member field. Plain JavaScript, no libraries; every page works without it.
"use strict";
(function () {
  const form = document.querySelector("form[data-lint]");
  if (form) {
    const list = document.getElementById("findings");
    const counts = {system: document.getElementById("system-tokens"), user: document.getElementById("user-tokens")};
    let timer = 0, asked = 0, last = form.querySelector("[name=user_text]");

    const marked = () => {
      const text = form.system_text.value + form.user_text.value;
      document.querySelectorAll(".chips button").forEach((chip) => {
        chip.classList.toggle("used", new RegExp("\\{\\{\\s*" + chip.dataset.name + "\\s*\\}\\}").test(text));
      });
    };
    const shown = (answer) => {
      list.replaceChildren(...answer.findings.map((finding) => {
        const item = document.createElement("li");
        item.className = finding.level;
        item.textContent = finding.message;
        const where = document.createElement("small");
        where.textContent = list.dataset[finding.where] || "";
        item.append(where);
        return item;
      }));
      if (!answer.findings.length) {
        const item = document.createElement("li");
        item.className = "none";
        item.textContent = list.dataset.none;
        list.append(item);
      }
      if (answer.system_tokens !== undefined) {
        counts.system.textContent = answer.system_tokens;
        counts.user.textContent = answer.user_tokens;
      }
    };
    const lint = async () => {
      const mine = ++asked;
      const answer = await fetch(form.dataset.lint, {method: "POST", body: new FormData(form)});
      if (answer.ok && mine === asked) shown(await answer.json());
    };
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(lint, 350); marked(); });
    form.addEventListener("focusin", (event) => { if (event.target.tagName === "TEXTAREA") last = event.target; });
    document.querySelectorAll(".chips button").forEach((chip) => chip.addEventListener("click", () => {
      last.setRangeText("{{ " + chip.dataset.name + " }}", last.selectionStart, last.selectionEnd, "end");
      last.focus();
      last.dispatchEvent(new Event("input", {bubbles: true}));
    }));
    marked();
    let dirty = false;
    form.addEventListener("input", () => { dirty = true; });
    form.addEventListener("submit", () => { dirty = false; });
    window.addEventListener("beforeunload", (event) => { if (dirty) event.preventDefault(); });
  }

  const member = document.querySelector("input[data-members]");
  if (member) {
    const options = document.getElementById(member.getAttribute("list"));
    let timer = 0;
    member.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        const answer = await fetch(member.dataset.members + "?q=" + encodeURIComponent(member.value));
        if (!answer.ok) return;
        options.replaceChildren(...(await answer.json()).members.map((row) => {
          const option = document.createElement("option");
          option.value = row.key;
          option.textContent = row.label;
          return option;
        }));
      }, 250);
    });
  }

  document.querySelectorAll("form[data-busy]").forEach((form) => form.addEventListener("submit", () => {
    form.querySelectorAll("button").forEach((button) => { button.textContent = form.dataset.busy; setTimeout(() => { button.disabled = true; }); });
  }));
})();
