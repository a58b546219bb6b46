"""Parts of server.py that a sandbox with IPython does not show. Run by ctest."""

import json
import os
import pathlib
import socket
import sys
import unittest

SOURCE = (pathlib.Path(__file__).parent / "server.py").read_text()
server = {"__name__": "server"}
exec(compile(SOURCE, "server.py", "exec"), server)


class PlainShell(unittest.TestCase):
    def setUp(self):
        ours, theirs = socket.socketpair()
        self.lines = ours.makefile("rb")
        self.addCleanup(ours.close)
        self.addCleanup(self.lines.close)
        self.main = sys.modules["__main__"]
        self.events = server["Events"](theirs)
        self.shell = server["PlainShell"](self.events)

    def tearDown(self):
        sys.modules["__main__"] = self.main

    def run_cell(self, code):
        self.shell.run(code)
        self.events.emit(type="end")
        events = []
        while not events or events[-1]["type"] != "end":
            events.append(json.loads(self.lines.readline()))
        return events[:-1]

    def test_the_last_expression_is_the_result(self):
        self.assertEqual(
            self.run_cell("x = 6\nx * 7"), [{"type": "result", "is_main_result": True, "text": "42"}]
        )
        self.assertEqual(self.run_cell("x"), [{"type": "result", "is_main_result": True, "text": "6"}])

    def test_statements_and_none_have_no_result(self):
        self.assertEqual(self.run_cell("y = 1"), [])
        self.assertEqual(self.run_cell("None"), [])
        self.assertEqual(self.run_cell(""), [])

    def test_an_error_is_told_without_our_own_frames(self):
        [error] = self.run_cell("def f():\n  return 1 / 0\nf()")
        self.assertEqual((error["name"], error["value"]), ("ZeroDivisionError", "division by zero"))
        self.assertIn("<cell 1>", error["traceback"])
        self.assertNotIn("server.py", error["traceback"])

    def test_syntax_errors_and_exits_are_errors(self):
        self.assertEqual(self.run_cell("if:")[0]["name"], "SyntaxError")
        self.assertEqual(self.run_cell("raise SystemExit(3)")[0]["name"], "SystemExit")

    def test_cells_are_in_a_module_of_their_own(self):
        self.assertEqual(self.run_cell("__name__")[0]["text"], "__main__")
        code = "import pickle\nclass A: pass\ntype(pickle.loads(pickle.dumps(A()))) is A"
        self.assertEqual(self.run_cell(code)[0]["text"], "True")

    def test_rich_forms(self):
        code = "class A:\n  def _repr_html_(self): return '<b>'\n  def __repr__(self): return 'A'\nA()"
        [result] = self.run_cell(code)
        self.assertEqual(result, {"type": "result", "is_main_result": True, "text": "A", "html": "<b>"})


class Fields(unittest.TestCase):
    def test_one_pair_of_quotes_goes(self):
        shown_as = {"'a'": "a", '"a"': "a", "''a''": "'a'", "'": "'", "'a\"": "'a\"", "a": "a"}
        for text, shown in shown_as.items():
            self.assertEqual(server["fields_of"]({"text/plain": text}), {"text": shown})

    def test_pictures_are_base64_and_what_is_unknown_is_extra(self):
        fields = server["fields_of"]({"image/png": b"\x89PNG", "image/jpeg": "Zm9v\n", "x/y": 1})
        self.assertEqual(fields, {"png": "iVBORw==", "jpeg": "Zm9v", "extra": {"x/y": 1}})


class Output(unittest.TestCase):
    def test_what_is_printed_in_parts_is_one_event(self):
        ours, theirs = socket.socketpair()
        events = server["Events"](theirs)
        output = server["Output"](events, "stdout", 1)
        print("a", 1, file=output)
        print("b", file=output)
        events.emit(type="end")
        lines = ours.makefile("rb")
        self.assertEqual(json.loads(lines.readline())["text"], "a 1\nb\n")
        self.assertEqual(json.loads(lines.readline()), {"type": "end"})

    def test_descriptors_are_read_to_where_they_were(self):
        ours, theirs = socket.socketpair()
        events = server["Events"](theirs)
        read, number = os.pipe()  # a number that is ours to replace
        descriptor = server["Descriptor"](events, "stderr", number)
        text = "x\0y\u00e4" * 8_000
        data = text.encode()
        while data:
            data = data[os.write(number, data) :]
        descriptor.drain()
        events.emit(type="end")
        lines = ours.makefile("rb")
        seen = ""
        while True:
            event = json.loads(lines.readline())
            if event["type"] == "end":
                break
            seen += event["text"]
        self.assertEqual(seen, text)


unittest.main()
