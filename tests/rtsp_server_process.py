"""A real RTSP server: GStreamer's, with a drawn live picture. Run with Debian's own Python: it has the bindings.

    /usr/bin/python3 rtsp_server_process.py PORT [USER PASSWORD]

Prints a line once it listens, and serves `/live` (H.264, 320x240, 15 frames a second, a key frame each second) and
`/small` (the same at 160x120), `/rare` (a key frame each six seconds) and `/jpeg` (MJPEG) until it is killed.
"""

from __future__ import annotations

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

SOURCE = "( videotestsrc is-live=true pattern=smpte ! video/x-raw,format=I420,width={},height={},framerate=15/1 ! {} )"
H264 = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 config-interval=1"
JPEG = "jpegenc ! rtpjpegpay name=pay0 pt=26"
MOUNTS = {
    "/live": SOURCE.format(320, 240, H264),
    "/small": SOURCE.format(160, 120, H264),
    "/rare": SOURCE.format(160, 120, H264.replace("key-int-max=15", "key-int-max=90")),
    "/jpeg": SOURCE.format(320, 240, JPEG),
}


def main(port: str, login: list[str]) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    if login:
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_digest(login[0], login[1], token)
        server.set_auth(auth)
    for path, launch in MOUNTS.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch)
        factory.set_shared(True)
        if login:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(path, factory)
    if server.attach(None) == 0:
        sys.exit("the port is taken")
    print("listening", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
