// @ts-check
// What Python put into this file: gzip in base64, in a block that the browser does not read as markup.

/** Return the text of a block. */
export async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id)?.textContent ?? ''), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).text();
}

/** Return the content of the page. */
export const content = async () => JSON.parse(await unpack('content'));
