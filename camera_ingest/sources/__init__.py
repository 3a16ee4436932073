"""Where frames come from: streams, devices, files, folders of pictures, and the demo's own scene."""
