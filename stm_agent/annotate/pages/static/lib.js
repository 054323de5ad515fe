// One place to import from.
export { html, render, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "/static/vendor/preact.js";
export { Problem, api, download, enc, freshKey, loggedIn, onLoggedOut, query, stream } from "/static/api.js";
export { useJob } from "/static/jobs.js";
export { Sheet, keyedLevels, levelKeys, useKeys } from "/static/keys.js";
export { Saved, outbox, useOutbox } from "/static/outbox.js";
export { store, useFull } from "/static/store.js";
export {
  Check, Dialog, Dot, Fault, Field, Loaded, NumberBox, Select, Snippet, Toasts,
  go, toPoints, toUnits, toast, told, useDebounced, useKept, useLoad, useOpen, useRoute,
} from "/static/widgets.js";
