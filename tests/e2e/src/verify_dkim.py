"""Whether a mail's DKIM signature is right, by dkimpy, with the domain's record as it is given."""

import json
import sys

import dkim

asked = json.load(sys.stdin)
names = []


def record(name, timeout=5):
    names.append(name.decode())
    return asked["record"].encode()


good = dkim.verify(asked["mail"].encode("latin-1"), dnsfunc=record)
print(json.dumps({"good": good, "asked": names}))
