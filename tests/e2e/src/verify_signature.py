"""Whether a webhook's signature is right, by the Standard Webhooks library of Python."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

asked = json.load(sys.stdin)
try:
    Webhook(asked["secret"]).verify(asked["body"], asked["headers"])
    print("true")
except WebhookVerificationError:
    print("false")
