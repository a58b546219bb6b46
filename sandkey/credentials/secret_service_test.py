"""Runs a test program beside a Secret Service of its own, on a session bus of its own.
Usage: secret_service_test.py PROGRAM. Exits with 77 where D-Bus, its Python or libsecret is missing."""

import ctypes
import os
import subprocess
import sys
import tempfile
import threading

try:
    import dbus
    import dbus.mainloop.glib
    import dbus.service
    from gi.repository import GLib

    ctypes.CDLL("libsecret-1.so.0")
except (ImportError, OSError) as error:
    print(f"skipped: {error}")
    sys.exit(77)

PREFIX = "org.freedesktop.Secret."
ROOT = "/org/freedesktop/secrets"
ITEMS = {
    ROOT + "/item/1": ({"application": "sandkey", "profile": "work", "provider": "acme", "part": "api_key"}, False),
    ROOT + "/item/2": ({"application": "sandkey", "profile": "shut", "provider": "acme", "part": "api_key"}, True),
    ROOT + "/item/3": ({"application": "other", "profile": "work", "provider": "acme", "part": "token"}, False),
}


class Service(dbus.service.Object):
    @dbus.service.method(PREFIX + "Service", in_signature="sv", out_signature="vo")
    def OpenSession(self, algorithm, _):
        if algorithm != "plain":
            raise dbus.DBusException("plain only", name="org.freedesktop.DBus.Error.NotSupported")
        return dbus.String("", variant_level=1), dbus.ObjectPath(ROOT + "/session/1")

    @dbus.service.method(PREFIX + "Service", in_signature="a{ss}", out_signature="aoao")
    def SearchItems(self, wanted):
        found = [path for path, (attributes, _) in ITEMS.items() if wanted.items() <= attributes.items()]
        return [p for p in found if not ITEMS[p][1]], [p for p in found if ITEMS[p][1]]

    @dbus.service.method(PREFIX + "Service", in_signature="aoo", out_signature="a{o(oayays)}")
    def GetSecrets(self, paths, session):
        return {path: (session, dbus.ByteArray(b""), dbus.ByteArray(b"CANARY"), "text/plain") for path in paths}

    @dbus.service.method("org.freedesktop.DBus.Properties", in_signature="s", out_signature="a{sv}")
    def GetAll(self, _):
        return {"Collections": dbus.Array([], signature="o")}


class Item(dbus.service.Object):
    @dbus.service.method("org.freedesktop.DBus.Properties", in_signature="s", out_signature="a{sv}",
                         path_keyword="path")
    def GetAll(self, _, path):
        attributes, locked = ITEMS[path]
        return {"Locked": dbus.Boolean(locked), "Label": "x", "Created": dbus.UInt64(1), "Modified": dbus.UInt64(1),
                "Attributes": dbus.Dictionary(attributes, signature="ss")}


def run(program, case):
    return subprocess.run([program, "--gtest_filter=SecretService." + case], check=False).returncode


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        try:
            daemon = subprocess.Popen(["dbus-daemon", "--session", "--nofork", "--print-address=1",
                                       "--address=unix:path=" + folder + "/bus"], stdout=subprocess.PIPE, text=True)
        except OSError as error:
            print(f"skipped: {error}")
            return 77
        try:
            os.environ["DBUS_SESSION_BUS_ADDRESS"] = daemon.stdout.readline().strip()
            failed = run(program, "NobodyAnswers")
            dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
            bus = dbus.SessionBus()
            bus.set_exit_on_disconnect(False)
            name = dbus.service.BusName("org.freedesktop.secrets", bus)
            # The name is taken, and its loop does not run yet.
            failed |= run(program, "DoesNotAnswerInTime")
            objects = [Service(name, ROOT)] + [Item(name, path) for path in ITEMS]
            loop = GLib.MainLoop()
            threading.Thread(target=loop.run, daemon=True).start()
            failed |= run(program, "GivesWhatIsUnlocked")
            loop.quit()
            del objects
            return failed
        finally:
            daemon.kill()
            daemon.wait()


sys.exit(main(sys.argv[1]))
