// A gRPC server and client, by the protocol's own library.
//
//   node peer.js serve            listens on a free port of 127.0.0.1, prints it, ends with its stdin
//   node peer.js call PORT TOKEN  one unary call and one stream of three messages both ways; prints
//                                 what came of each as JSON
//
// Messages are UTF-8 text, so that no .proto file is needed. The server answers each with itself
// and the `authorization` it was sent.
import * as grpc from '@grpc/grpc-js';

const text = {
  requestSerialize: (value) => Buffer.from(value),
  requestDeserialize: (bytes) => bytes.toString(),
  responseSerialize: (value) => Buffer.from(value),
  responseDeserialize: (bytes) => bytes.toString(),
};
const service = {
  one: { path: '/test.Echo/One', requestStream: false, responseStream: false, ...text },
  many: { path: '/test.Echo/Many', requestStream: true, responseStream: true, ...text },
};
const authorization = (call) => call.metadata.get('authorization').join(',');
const answer = (call, message) => `${message} ${authorization(call)}`;

function serve() {
  const server = new grpc.Server();
  server.addService(service, {
    one: (call, done) => done(null, answer(call, call.request)),
    many: (call) => {
      call.on('data', (message) => call.write(answer(call, message)));
      call.on('end', () => call.end());
    },
  });
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    console.log(port);
  });
  process.stdin.resume().on('end', () => process.exit(0));
}

async function call(port, token) {
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  const metadata = () => {
    const fields = new grpc.Metadata();
    if (token) fields.set('authorization', `Bearer ${token}`);
    return fields;
  };
  const { one, many } = service;
  const unary = await new Promise((done) =>
    client.makeUnaryRequest(one.path, one.requestSerialize, one.responseDeserialize, 'hello', metadata(),
      (error, reply) => done({ code: error?.code ?? 0, replies: error ? [] : [reply] })));
  const stream = await new Promise((done) => {
    const replies = [];
    const call = client.makeBidiStreamRequest(many.path, many.requestSerialize, many.responseDeserialize, metadata());
    call.on('data', (reply) => {
      replies.push(reply);
      if (replies.length < 3) call.write(`message ${replies.length}`);
      else call.end();
    });
    call.on('error', (error) => done({ code: error.code, replies }));
    call.on('status', (status) => done({ code: status.code, replies }));
    call.write('message 0');
  });
  console.log(JSON.stringify({ unary, stream }));
  client.close();
}

const [mode, port, token] = process.argv.slice(2);
if (mode === 'serve') serve();
else await call(port, token);
