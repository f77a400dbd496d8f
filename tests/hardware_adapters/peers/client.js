// A client of an independent stack (node-opcua), to read one of our servers with.
//
//   node client.js '{"endpoint": "opc.tcp://...", "folder": "...", "uri": "urn:...", "policy": "Basic256Sha256",
//                    "nodes": ["ns=2;s=..."], "rows": 10, "history": "ns=2;s=...", "read": ["ns=2;s=..."]}'
//
// `folder` has certificate.pem and key.pem of the client and trusted.der of the server. It subscribes to `nodes`, prints
// "SUBSCRIBED", and ends with one line of JSON: the `rows` first changes, a read of all nodes, then of those in `read`,
// and the history of one.
// Nodes may be named by the URI of their namespace: "nsu=urn:...;s=...". A time is [milliseconds since 1970, picoseconds after them].
"use strict";
const path = require("path");
const fs = require("fs");
const {
  AttributeIds,
  ClientMonitoredItem,
  ClientSubscription,
  MessageSecurityMode,
  OPCUACertificateManager,
  OPCUAClient,
  SecurityPolicy,
  TimestampsToReturn,
  UserTokenType,
} = require("node-opcua");

const options = JSON.parse(process.argv[2]);
const policies = { Basic256Sha256: SecurityPolicy.Basic256Sha256, Aes256Sha256RsaPss: SecurityPolicy.Aes256_Sha256_RsaPss };
const time = (date, picoseconds) => (date ? [date.getTime(), picoseconds ?? 0] : null);
const plain = (value) => (ArrayBuffer.isView(value) ? Array.from(value) : value ?? null);
const told = (v) => ({
  value: plain(v.value?.value),
  type: v.value?.dataType ?? 0,
  status: v.statusCode.value,
  source: time(v.sourceTimestamp, v.sourcePicoseconds),
  server: time(v.serverTimestamp, v.serverPicoseconds),
});

async function main() {
  const manager = new OPCUACertificateManager({
    automaticallyAcceptUnknownCertificate: false,
    rootFolder: path.join(options.folder, "node-client-pki"),
  });
  await manager.initialize();
  await manager.trustCertificate(fs.readFileSync(path.join(options.folder, "trusted.der")));
  const client = OPCUAClient.create({
    applicationUri: options.uri,
    certificateFile: path.join(options.folder, "certificate.pem"),
    privateKeyFile: path.join(options.folder, "key.pem"),
    clientCertificateManager: manager,
    securityMode: MessageSecurityMode.SignAndEncrypt,
    securityPolicy: policies[options.policy],
    endpointMustExist: false,
    connectionStrategy: { maxRetry: 1 },
  });
  await client.connect(options.endpoint);
  const user = options.user && { type: UserTokenType.UserName, userName: options.user, password: options.password };
  const session = await client.createSession(user);
  const namespaces = await session.readNamespaceArray();
  const found = (nodeId) => nodeId.replace(/^nsu=([^;]+);/, (_, uri) => `ns=${namespaces.indexOf(uri)};`);
  const valuesOf = (nodeIds) =>
    session.read(nodeIds.map((nodeId) => ({ nodeId: found(nodeId), attributeId: AttributeIds.Value })));
  const subscription = ClientSubscription.create(session, {
    requestedPublishingInterval: 50,
    requestedLifetimeCount: 1000,
    requestedMaxKeepAliveCount: 10,
    maxNotificationsPerPublish: 0,
    publishingEnabled: true,
  });
  const changes = [];
  const enough = new Promise((resolve) => {
    for (const nodeId of options.nodes)
      ClientMonitoredItem.create(
        subscription,
        { nodeId: found(nodeId), attributeId: AttributeIds.Value },
        { samplingInterval: 0, queueSize: 100, discardOldest: true },
        TimestampsToReturn.Both
      ).on("changed", (v) => {
        changes.push({ node: nodeId, ...told(v) });
        if (changes.length === options.nodes.length) process.stdout.write("SUBSCRIBED\n");
        if (changes.length >= options.rows) resolve();
      });
  });
  await enough;
  const read = await valuesOf(options.nodes);
  const others = await valuesOf(options.read ?? []);
  const history = await session.readHistoryValue(found(options.history), new Date(0), new Date("2100-01-01"), {
    timestampsToReturn: TimestampsToReturn.Both,
  });
  const units = options.units ? await session.read({ nodeId: options.units, attributeId: AttributeIds.Value }) : null;
  const document = {
    changes,
    read: read.map(told),
    others: others.map(told),
    history: (history.historyData?.dataValues ?? []).map(told),
    units: units?.value?.value ?? null,
  };
  process.stdout.write(`${JSON.stringify(document)}\n`);
  await subscription.terminate();
  await session.close();
  await client.disconnect();
}

main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  }
);
