"""An SMTP server on a free port of the loopback interface: mail.py FOLDER

Prints its port, then each mail that arrives: the headers that matter and the text part.
"""

import asyncio
import email
import email.policy
import sys

from aiosmtpd.smtp import SMTP

from arrivals import Arrivals

arrivals = Arrivals(sys.argv[1])


class Handler:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        headers = [f"{name}: {mail[name]}" for name in ("From", "To", "Subject", "Message-ID") if mail[name]]
        text = mail.get_body(preferencelist=("plain",)).get_content().strip()
        arrivals.add("an e-mail arrived", "\n".join(headers) + "\n\n" + text)
        return "250 OK"


async def main():
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(Handler()), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
