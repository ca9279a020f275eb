export function render({ model }) {
  const field = document.createElement("label")
  field.className = "drop"
  const label = document.createElement("span")
  label.textContent = model.hint
  const input = document.createElement("input")
  input.type = "file"
  input.hidden = true
  input.multiple = model.several
  field.append(label, input)
  const send = async (file) => {
    if (!file) return
    if (file.size > model.most_bytes) {
      model.fault = ""
      model.fault = `${file.name}: has ${Math.ceil(file.size / 1e6)} MB, more than ${Math.floor(model.most_bytes / 1e6)} MB; crop it, or read it in Python or by the command line`
      return
    }
    label.textContent = `sending ${file.name} …`
    try {
      const answer = await fetch(model.address, {
        method: "POST", body: file, headers: { "X-File-Name": encodeURIComponent(file.name) },
      })
      const reply = await answer.text()
      if (answer.ok) {
        model.fault = ""
        model.key = JSON.parse(reply).key
        // Of changes in quick succession the page may pass on the last only.
        model.keys = [...model.keys, model.key]
      }
      else { model.fault = ""; model.fault = reply }
    } catch (error) {
      model.fault = ""
      model.fault = `${file.name}: could not be sent; is passband app still running?`
    }
    label.textContent = model.hint
    input.value = ""
  }
  const all = async (files) => {
    for (const file of [...files].slice(0, model.several ? undefined : 1)) await send(file)
  }
  input.addEventListener("change", () => all(input.files))
  for (const name of ["dragenter", "dragover"])
    field.addEventListener(name, (event) => { event.preventDefault(); field.classList.add("over") })
  for (const name of ["dragleave", "drop"])
    field.addEventListener(name, (event) => { event.preventDefault(); field.classList.remove("over") })
  field.addEventListener("drop", (event) => all(event.dataTransfer.files))
  return field
}
