// The search page: one query, two rankings side by side, thumbs that go into the run's judgement file.

const $ = (id) => document.getElementById(id);
const columns = ['left', 'right'].map((id) => ({ select: $(id), hits: $(`${id}-hits`) }));
let asked = '';
let turn = 0;

async function call(path, body) {
  for (;;) {
    const headers = { 'Content-Type': 'application/json' };
    const key = sessionStorage.getItem('key');
    if (key) headers.Authorization = `Bearer ${key}`;
    const method = body === undefined ? 'GET' : 'POST';
    const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
    if (answer.status === 401) {
      await askKey();
      continue;
    }
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error?.message || `the server answered ${answer.status}`);
    return content;
  }
}

function askKey() {
  const dialog = $('ask-key');
  return new Promise((done) => {
    dialog.addEventListener('close', () => {
      sessionStorage.setItem('key', $('key').value);
      done();
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

function say(text) {
  $('status').textContent = text;
}

async function fillChoices() {
  const { data } = await call('/v1/models');
  const choices = data.flatMap((model) => model.modes.map((mode) => ({ model: model.id, mode })));
  const lexical = choices.findIndex((choice) => choice.mode === 'bm25');
  // BM25 is the same whichever model stands beside it.
  const shown = choices.filter((choice, number) => choice.mode !== 'bm25' || number === lexical);
  for (const { select } of columns) {
    select.replaceChildren(...shown.map(({ model, mode }) => {
      const option = document.createElement('option');
      option.value = JSON.stringify({ model, mode });
      option.textContent = mode === 'bm25' ? 'BM25' : mode === 'fused' ? `${model} and BM25` : model;
      return option;
    }));
  }
  const other = data.length > 1 ? shown.findIndex((choice) => choice.model === data[1].id) : 1;
  columns[1].select.selectedIndex = Math.max(other, 0);
}

async function search() {
  const mine = ++turn;
  say('searching');
  try {
    await listed;
    const answers = await Promise.all(columns.map(({ select }) => {
      const choice = JSON.parse(select.value);
      return call('/v1/search', { query: asked, top: 10, ...choice });
    }));
    if (mine !== turn) return;
    answers.forEach((answer, number) => show(columns[number], answer));
    const empty = answers.every((answer) => !answer.hits.length);
    say(empty ? 'nothing found' : '');
  } catch (error) {
    if (mine === turn) say(error.message);
  }
}

function show(column, answer) {
  column.hits.replaceChildren(...answer.hits.map((hit) => {
    const item = $('hit').content.cloneNode(true).firstElementChild;
    item.dataset.document = hit.document;
    item.querySelector('.score').textContent = hit.score.toFixed(3);
    item.querySelector('.document').textContent = hit.document;
    item.querySelector('.text').textContent = hit.text;
    const seen = `${answer.model} ${answer.mode} ${hit.rank}`;
    item.querySelector('.up').addEventListener('click', () => judge(hit.document, true, item, seen));
    item.querySelector('.down').addEventListener('click', () => judge(hit.document, false, item, seen));
    press(item, hit.relevant);
    return item;
  }));
}

function press(item, relevant) {
  item.querySelector('.up').setAttribute('aria-pressed', String(relevant === true));
  item.querySelector('.down').setAttribute('aria-pressed', String(relevant === false));
}

async function judge(name, relevant, item, seen) {
  const button = item.querySelector(relevant ? '.up' : '.down');
  const value = button.getAttribute('aria-pressed') === 'true' ? null : relevant;
  try {
    const body = { query: asked, document: name, relevant: value, seen_in: seen };
    const { judgements } = await call('/v1/judgements', body);
    for (const same of document.querySelectorAll('li')) {
      if (same.dataset.document === name) press(same, value);
    }
    say(`saved; ${judgements} in the judgement file`);
  } catch (error) {
    say(`not saved: ${error.message}`);
  }
}

$('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  asked = $('words').value.trim();
  if (!asked) return;
  history.replaceState(null, '', `#${encodeURIComponent(asked)}`);
  search();
});
for (const { select } of columns) select.addEventListener('change', () => asked && search());

// What was typed or asked while the models were listed stays.
const listed = fillChoices();
try {
  asked = decodeURIComponent(location.hash.slice(1));
  if (asked) {
    $('words').value = asked;
    search();
  }
  await listed;
} catch (error) {
  say(error.message);
}
