// A Model Context Protocol server and client, by the protocol's own library.
//
//   node peer.js serve                      listens on a free port of 127.0.0.1, prints it, ends with its stdin
//   node peer.js call URL ISSUER TOOL ...   calls tools, one after the other, as a client that finds the
//                                           authorization server by itself; prints, as JSON, what came of
//                                           each and the scopes it asked for
//
// The server speaks revision 2026-07-28 of the protocol and, as most do, the ones before it. The client
// speaks the former, whose requests name method and tool in headers.
import http from 'node:http';

import {
  Client,
  ClientCredentialsProvider,
  StreamableHTTPClientTransport,
} from '@modelcontextprotocol/client';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { McpServer, createMcpHandler } from '@modelcontextprotocol/server';
import * as z from 'zod';

const TOOLS = ['search', 'café', 'delete'];

function serve() {
  const handler = createMcpHandler(() => {
    const server = new McpServer({ name: 'test', version: '1.0.0' });
    for (const name of TOOLS) {
      const tool = { description: name, inputSchema: z.object({}) };
      server.registerTool(name, tool, () => ({ content: [{ type: 'text', text: `${name} was called` }] }));
    }
    return server;
  });
  const server = http.createServer(toNodeHandler(handler));
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}

async function call(url, issuer, tools) {
  const provider = new ClientCredentialsProvider({
    clientId: 'mcp-client',
    clientSecret: 'Password1',
    expectedIssuer: issuer,
  });
  const scopes = [];
  const prepare = provider.prepareTokenRequest.bind(provider);
  provider.prepareTokenRequest = (scope) => {
    scopes.push(scope);
    return prepare(scope);
  };
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  const client = new Client({ name: 'test', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } });
  await client.connect(transport);
  const listed = (await client.listTools()).tools.map((tool) => tool.name);
  const replies = [];
  for (const name of tools) {
    try {
      const { content } = await client.callTool({ name, arguments: {} });
      replies.push(content[0].text);
    } catch (error) {
      replies.push(`${error.name}: ${error.message}`);
    }
  }
  await client.close();
  console.log(JSON.stringify({ listed, replies, scopes }));
}

const [what, ...rest] = process.argv.slice(2);
if (what === 'serve') serve();
else await call(rest[0], rest[1], rest.slice(2));
