// What Slack's own libraries may send, as Slack types it; tests/setup.sh makes a JSON schema of each exported type.

import type { KnownBlock } from '@slack/types';
import type { ChatPostMessageArguments } from '@slack/web-api';
import type { IncomingWebhookSendArguments } from '@slack/webhook';

/** Options of the library itself. */
type Unsent = 'fetch' | 'timeout' | 'retryConfig';
/** Without the Block that Slack allows too, which is any object with a type. */
type KnownBlocks = { blocks: KnownBlock[] };

export type IncomingWebhook = Omit<IncomingWebhookSendArguments, Unsent | 'blocks'> & KnownBlocks;
export type ChatPostMessage = ChatPostMessageArguments & KnownBlocks;
