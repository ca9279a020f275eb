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
  // Returns the key of the file, or why it was refused.
  const send = async (file, address, count) => {
    if (file.size > model.most_bytes)
      return { fault: `${file.name}: has ${Math.ceil(file.size / 1e6)} MB, more than ${Math.floor(model.most_bytes / 1e6)} MB; crop it, or read it in Python or by the command line` }
    label.textContent = `sending ${file.name}${count} …`
    try {
      const answer = await fetch(address, {
        method: "POST", body: file, headers: { "X-File-Name": encodeURIComponent(file.name) },
      })
      const reply = await answer.text()
      return answer.ok ? { key: JSON.parse(reply).key } : { fault: reply }
    } catch (error) {
      return { fault: `${file.name}: could not be sent; is passband app still running?` }
    }
  }
  const all = async (chosen) => {
    // Emptying the field empties its list.
    const files = [...chosen].slice(0, model.several ? undefined : 1)
    const batch = files.length > 1 && model.batch_address
    const sent = []
    for (const [i, file] of files.entries()) {
      const count = files.length > 1 ? ` (${i + 1} of ${files.length})` : ""
      const { key, fault } = await send(file, batch ? model.batch_address : model.address, count)
      if (batch) sent.push([file.name, key || "", fault || ""])
      else if (key) {
        model.fault = ""
        model.key = key
        // Of changes in quick succession the page may pass on the last only.
        model.keys = [...model.keys, key]
      } else { model.fault = ""; model.fault = fault }
    }
    if (batch) { model.fault = ""; model.batch = sent }
    label.textContent = model.hint
    input.value = ""
  }
  input.addEventListener("change", () => all(input.files))
  for (const name of ["dragenter", "dragover"])
    field.addEventListener(name, (event) => { event.preventDefault(); field.classList.add("over") })
  for (const name of ["dragleave", "drop"])
    field.addEventListener(name, (event) => { event.preventDefault(); field.classList.remove("over") })
  field.addEventListener("drop", (event) => all(event.dataTransfer.files))
  return field
}
