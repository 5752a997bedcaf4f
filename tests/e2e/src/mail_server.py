"""An SMTP server on a free port of the loopback interface.

Prints its port, then each message that it accepts as one line of JSON. Ends with its standard input.
"""

import argparse
import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult


class Receiver:
    async def handle_RCPT(self, server, session, envelope, address, options):
        local = address.partition("@")[0]
        if local == "bounce":
            return "550 5.1.1 no such user"
        if local == "later":
            return "451 4.2.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(json.dumps({
            "connection": session.peer[1],
            "mail_from": envelope.mail_from,
            "rcpt_tos": envelope.rcpt_tos,
            "tls": session.ssl is not None,
            "authenticated": session.authenticated,
            "type": message.get_content_type(),
            "headers": {name: str(value) for name, value in message.items()},
            "defects": [str(defect) for part in message.walk() for defect in part.defects],
            "parts": {part.get_content_type(): part.get_content()
                      for part in message.walk() if not part.is_multipart()},
            "raw": envelope.content.decode("latin-1"),
        }), flush=True)
        return "250 OK"


# And its TLS, where that is from the first byte.
def make_server(options):
    if options.cert is None:
        return SMTP(Receiver()), None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options.cert, options.key)

    def authenticate(server, session, envelope, mechanism, data):
        good = data.login == options.user.encode() and data.password == options.password.encode()
        return AuthResult(success=good, handled=good)  # not handled: aiosmtpd gives the answer

    if options.implicit:
        return SMTP(Receiver(), auth_required=True, auth_require_tls=False, authenticator=authenticate), context
    return SMTP(Receiver(), tls_context=context, require_starttls=True, auth_required=True,
                authenticator=authenticate), None


async def main():
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # a client that gives up is part of the tests
    logging.getLogger("mail.error").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
    arguments = argparse.ArgumentParser()
    for name in ("cert", "key", "user", "password"):
        arguments.add_argument("--" + name)
    arguments.add_argument("--implicit", action="store_true", help="TLS from the first byte")
    options = arguments.parse_args()
    loop = asyncio.get_running_loop()
    _, context = make_server(options)
    server = await loop.create_server(lambda: make_server(options)[0], "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
