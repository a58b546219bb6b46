"""The Python worker of sandkey-agent: runs cells one after another and keeps their state.

Started by python_worker.cpp, which passes this source over the control socket, so no file is needed. Valid for
Python 3.6 and later. With IPython installed the cells run in its InteractiveShell, otherwise in PlainShell below.

Everything a cell says (its own prints, those of its subprocesses and C code, results, tracebacks) goes into one
pipe, descriptors 1 and 2, in the order it happens. What the agent must be able to believe goes over the control
socket and names the cell's id, which is random:

    agent:   <id> <bytes of cwd> <bytes of code>\n<cwd><code>      an empty cwd: stay where you are
    worker:  \n<id> image <base64 of a PNG>\n
             \n<id> done <1 if a result or traceback was shown, else 0> <1 if the worker ends now, else 0>\n
    once:    \nstart ready <sys.executable in hexadecimal>\n

A line begins with a newline too, so that bytes which a cell wrote to the socket cannot spoil the next line.
"""
# The loader defined `control`, a binary reader of the control socket (descriptor 3), and `source`, this text. It ran
# it with sys.path free of the working folder, where any file may carry the name of a module that we import.
#
# Only what every Python has loaded or built in is imported here: ast, signal and traceback would double the time to
# the first cell.
import _ast
import _signal
import builtins
import io
import os
import sys

CONTROL = control.fileno()  # noqa: F821
PID = os.getpid()
# Shown results bypass descriptor 1, so that a cell which redirects that one still shows its results.
OUTPUT = os.dup(1)


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def say(cell, verb, argument):
    write_all(CONTROL, b"\n" + cell + b" " + verb + b" " + argument + b"\n")


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # a cell may have put anything there
            pass


class Cell:
    """What the running cell has shown."""

    id = b""
    shown = False
    failed = False  # its error is shown; what is displayed after that is left out, as in OpenHands
    ending = False  # exit() was called


cell = Cell()


def show_text(text):
    flush()
    cell.shown = True
    write_all(OUTPUT, text.encode("utf-8", "backslashreplace"))


def show_png(png):
    if os.getpid() != PID:
        return
    import binascii

    if isinstance(png, str):  # base64 already
        encoded = png.encode("ascii", "ignore").replace(b"\n", b"")
    else:
        encoded = binascii.b2a_base64(png, newline=False)
    say(cell.id, b"image", encoded)


def show_bundle(bundle):
    show_text(str(bundle.get("text/plain", "")))
    if bundle.get("image/png"):
        show_png(bundle["image/png"])


class Sources:
    """The texts that tracebacks quote. They go to linecache when that is there: see `load` for when."""

    def __init__(self):
        self.pending = []

    def add(self, name, text):
        self.pending.append((name, text))
        if "linecache" in sys.modules or "traceback" in text:  # a cell may format a traceback itself
            self.load()

    def load(self):
        """For an error, or between cells when there is time."""
        import linecache
        import traceback  # noqa: F401

        while self.pending:
            name, text = self.pending.pop()
            linecache.cache[name] = (len(text), None, [line + "\n" for line in text.split("\n")], name)


sources = Sources()


def format_error(error, trace):
    sources.load()
    import traceback

    return "".join(traceback.format_exception(type(error), error, trace))


class Loop:
    """The event loop for cells with a top-level await; asyncio is imported for the first of them."""

    loop = None

    def run(self, coroutine):
        import asyncio

        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
            asyncio.set_event_loop(self.loop)
        task = self.loop.create_task(coroutine)
        try:
            return self.loop.run_until_complete(task)
        except BaseException:
            if not task.done():  # interrupted: or it would go on in the next cell that awaits something
                task.cancel()
                try:
                    self.loop.run_until_complete(task)
                except BaseException:
                    pass
            raise


event_loop = Loop()

NO_INPUT = "raw_input was called, but this frontend does not support input requests."


def leave_fork(error):
    """Ends a process that a cell forked, which came to the end of the cell: there is only one worker."""
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        code = 1
    flush()
    os._exit(code & 0xFF)


def make_ipython():
    # The order of imports is IPython's: its __init__ is what a bare `import IPython` costs.
    from IPython.core import page
    from IPython.core.autocall import ZMQExitAutocall
    from IPython.core.displayhook import DisplayHook
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.error import StdinNotImplementedError, UsageError
    from IPython.core.interactiveshell import InteractiveShell, InteractiveShellABC
    from traitlets import Instance, Type, default
    from traitlets.config import Config

    class ResultHook(DisplayHook):
        def write_output_prompt(self):
            pass

        def write_format_data(self, format_dict, md_dict=None):
            show_bundle(format_dict)

        def log_output(self, format_dict):
            pass  # it would keep every result of the session

        def finish_displayhook(self):
            self._is_active = False

    class Publisher(DisplayPublisher):
        def publish(self, data, metadata=None, source=None, **options):
            self._validate_data(data, metadata)
            if not options.get("update") and not cell.failed:
                show_bundle(data)

        def clear_output(self, wait=False):
            pass

    class Shell(InteractiveShell):
        displayhook_class = Type(ResultHook)
        display_pub_class = Type(Publisher)
        exiter = Instance(ZMQExitAutocall)
        keepkernel_on_exit = None

        @default("exiter")
        def _exiter_default(self):
            return ZMQExitAutocall(self)

        def init_environment(self):
            # As ipykernel, except that colours are not forced where there is no terminal.
            os.environ.update(TERM="xterm-color", CLICOLOR="1", PAGER="cat", GIT_PAGER="cat")

        def init_virtualenv(self):
            pass  # a kernel lives in its own environment

        def init_hooks(self):
            super().init_hooks()
            self.set_hook("show_in_pager", page.as_hook(self.show_page), 99)

        def show_page(self, text, start=0, screen_lines=0, pager_cmd=None):
            if isinstance(text, dict):
                text = text.get("text/plain", "")
            print(text)

        def enable_gui(self, gui=None):
            if gui not in (None, "inline"):
                raise UsageError("there is no display for the %r event loop here" % gui)

        def ask_exit(self):
            cell.ending = not self.keepkernel_on_exit

        def showtraceback(self, *args, **kwargs):
            if os.getpid() != PID and isinstance(sys.exc_info()[1], SystemExit):
                leave_fork(sys.exc_info()[1])
            super().showtraceback(*args, **kwargs)

        def _showtraceback(self, etype, evalue, stb):
            show_text("\n".join(stb) if isinstance(stb, list) else stb)

    InteractiveShellABC.register(Shell)

    config = Config()
    config.HistoryManager.enabled = False  # nothing is stored, so no database is opened
    config.InteractiveShell.autoindent = False
    config.InteractiveShell.colors = "NoColor" if ipython_version() < 9 else "nocolor"
    config.IPCompleter.use_jedi = False
    shell = Shell.instance(config=config)
    if hasattr(shell, "loop_runner"):
        shell.loop_runner = event_loop.run
    # What goes without saying of a shell that cannot be left by Ctrl-D.
    import warnings

    warnings.filterwarnings("ignore", message="To exit: use 'exit', 'quit', or Ctrl-D")

    # Before matplotlib's, which shows the open figures. The result is there only since IPython 7.
    shell.events.register("post_execute", lambda: setattr(cell, "failed", not shell.last_execution_succeeded))

    def raw_input(prompt=""):
        raise StdinNotImplementedError(NO_INPUT)

    builtins.input = raw_input
    sources.load()  # costs nothing: IPython has imported all that

    def run(code):
        cell.failed = False
        result = shell.run_cell(code, store_history=False)
        return result.error_before_exec or result.error_in_exec

    return run


def ipython_version():
    import IPython

    return IPython.version_info[0]


class PlainShell:
    """Cells without IPython: state, the value of a last expression, tracebacks, top-level await."""

    # What lets a cell await at its top level (Python 3.8).
    FLAGS = getattr(_ast, "PyCF_ALLOW_TOP_LEVEL_AWAIT", 0)

    def __init__(self):
        self.count = 0
        self.module = type(sys)("__main__")
        self.module.__builtins__ = builtins
        sys.modules["__main__"] = self.module
        sys.displayhook = self.display
        builtins.input = self.input

    @staticmethod
    def input(prompt=""):
        raise RuntimeError(NO_INPUT)

    @staticmethod
    def display(value):
        if value is None:
            return
        builtins._ = value
        show_text(repr(value))
        png = getattr(type(value), "_repr_png_", None)
        png = png(value) if png else None
        if png:
            show_png(png)

    def run(self, code):
        self.count += 1
        name = "<cell %d>" % self.count
        sources.add(name, code)
        try:
            tree = compile(code, name, "exec", _ast.PyCF_ONLY_AST | self.FLAGS, True)
            parts = [(tree, "exec")]
            if tree.body and isinstance(tree.body[-1], _ast.Expr):
                parts.append((_ast.Interactive([tree.body.pop()]), "single"))
            parts = [compile(part, name, mode, self.FLAGS, True) for part, mode in parts]
        except Exception as error:
            foreign = [line for line in code.split("\n") if line.lstrip()[:1] in ("%", "!")]
            if foreign and isinstance(error, SyntaxError):
                show_text(
                    "IPython is not installed for %s, so lines that begin with %% or ! (magics and shell commands) "
                    "cannot run: %s\n" % (sys.executable, foreign[0].strip())
                )
            else:
                show_text(format_error(error, None))
            return error
        try:
            for part in parts:
                awaited = eval(part, self.module.__dict__)
                if part.co_flags & 0x80:  # CO_COROUTINE: it has a top-level await
                    event_loop.run(awaited)
        except BaseException as error:
            if os.getpid() != PID and isinstance(error, SystemExit):
                leave_fork(error)
            trace = error.__traceback__
            while trace is not None and trace.tb_frame.f_code.co_filename != name:
                trace = trace.tb_next  # our own frames
            show_text(format_error(error, trace))
            return error
        self.show_figures()
        return None

    @staticmethod
    def show_figures():
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            png = io.BytesIO()
            figure.savefig(png, format="png")
            show_bundle({"text/plain": repr(figure), "image/png": png.getvalue()})
        pyplot.close("all")


def nothing(*_):
    pass


def ignore_interrupts():
    """From here on an interrupt, even one that has already arrived, stops nothing. It was for the cell."""
    while True:
        try:
            _signal.signal(_signal.SIGINT, nothing)
            return
        except KeyboardInterrupt:
            continue


def run_cell(run, code):
    error = None
    try:
        try:
            # For each cell anew, as ipykernel does: an earlier one may have ignored the signal.
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
            error = run(code)
        finally:
            ignore_interrupts()
    except BaseException as caught:  # interrupted between the user's code and here, or a defect of the shell
        ignore_interrupts()
        error = caught
        if os.getpid() == PID:
            show_text(format_error(caught, caught.__traceback__))
    if os.getpid() != PID:
        leave_fork(error)


def close_control():
    """In a process that a cell forked: there is only one worker."""
    try:
        os.close(CONTROL)
    except OSError:
        pass  # the cell closed it


def add_working_folder():
    """Where IPython puts it: after the standard library, before the installed packages."""
    for index, path in enumerate(sys.path):
        if os.path.basename(path) in ("site-packages", "dist-packages"):
            sys.path.insert(index, "")
            return
    sys.path.append("")


def make_shell():
    """A function that runs the text of a cell, shows what comes of it, and returns the exception it ended by."""
    mpl_backend = "agg"
    try:
        run = make_ipython()
        import importlib.util

        if importlib.util.find_spec("matplotlib_inline"):
            mpl_backend = "module://matplotlib_inline.backend_inline"
    except Exception:  # not installed, or broken
        run = PlainShell().run
    os.environ.setdefault("MPLBACKEND", mpl_backend)
    return run


def main(requests):
    os.set_inheritable(CONTROL, False)
    os.set_inheritable(OUTPUT, False)
    if hasattr(os, "register_at_fork"):  # Python 3.7
        os.register_at_fork(after_in_child=close_control)
    ignore_interrupts()
    # Unbuffered, so that what Python, C code and subprocesses write stands in the order they wrote it. The price: a
    # print is two writes, so what another process writes at that moment may come before the line's end.
    for fd, name in ((1, "stdout"), (2, "stderr")):
        stream = io.TextIOWrapper(io.FileIO(fd, "w", closefd=False), "UTF-8", "backslashreplace", "\n", False, True)
        stream.mode = "w"
        setattr(sys, name, stream)
        setattr(sys, "__%s__" % name, stream)
    sys.argv = [""]
    sources.pending.append(("<sandkey worker>", source.decode()))  # noqa: F821
    run = make_shell()
    add_working_folder()
    say(b"start", b"ready", os.fsencode(sys.executable or "").hex().encode())

    while True:
        header = requests.readline()
        if not header:
            os._exit(0)  # the agent is gone
        cell.id, cwd_size, code_size = header.split()
        cell.shown = cell.ending = False
        cwd = requests.read(int(cwd_size))
        code = requests.read(int(code_size)).decode("utf-8", "replace")
        if cwd:
            try:
                os.chdir(cwd)
            except OSError:
                pass  # as in OpenHands: the cell runs where it was
        for fd in (1, 2):
            try:
                os.set_blocking(fd, True)  # subprocesses of an earlier cell may have changed it for all of us
            except OSError:
                pass  # closed by a cell
        run_cell(run, code)
        flush()
        say(cell.id, b"done", b"%d %d" % (cell.shown, cell.ending))
        sources.load()
        if cell.ending:
            sys.exit(0)  # with the user's atexit functions


main(control)  # noqa: F821
