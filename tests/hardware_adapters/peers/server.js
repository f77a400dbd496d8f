// An OPC UA server of an independent stack (node-opcua), as a plant to test the client against.
//
//   node server.js '{"port": 0, "folder": "...", "tags": 10, "everyMs": 0, "counterMs": 20, "limit": 100}'
//
// `folder` has certificate.pem and key.pem of the server and trusted.der of the one client that is let in. It prints one line,
// "READY <endpoint>", and lives until its standard input is closed; the words
// "forget" and "expire" there end sessions. Everything stands below Objects/Plant:
//
//   T0, T1, ...       doubles, their own number plus a count of changes, written every `everyMs` (0: once)
//   Counter, Kept     count up together every `counterMs`; Kept has a history of `history` values
//   Wave              a triangle of 0 to 100 and back, one step with every count
//   Level             the same with a range of 0 to 200, for percent deadbands
//   Broken            BadSensorFailure with a value; Text: a string; Setpoint: writable
//   Add(a, b)         a method; Alarm: an exclusive limit alarm upon Setpoint
"use strict";
const path = require("path");
const fs = require("fs");
const {
  DataType,
  MessageSecurityMode,
  OPCUACertificateManager,
  OPCUAServer,
  SecurityPolicy,
  StatusCodes,
} = require("node-opcua");

const options = JSON.parse(process.argv[2]);

async function main() {
  const manager = new OPCUACertificateManager({
    automaticallyAcceptUnknownCertificate: false,
    rootFolder: path.join(options.folder, "node-pki"),
  });
  await manager.initialize();
  await manager.trustCertificate(fs.readFileSync(path.join(options.folder, "trusted.der")));
  const limit = options.limit ?? 100;
  const server = new OPCUAServer({
    hostname: "127.0.0.1",
    port: options.port ?? 0,
    resourcePath: "/plant",
    allowAnonymous: true,
    certificateFile: path.join(options.folder, "certificate.pem"),
    privateKeyFile: path.join(options.folder, "key.pem"),
    serverCertificateManager: manager,
    userManager: { isValidUser: (name, password) => name === "operator" && password === "secret" },
    serverInfo: { applicationUri: options.uri },
    buildInfo: { productName: "plant of the tests" },
    securityPolicies: [SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes256_Sha256_RsaPss],
    securityModes: [MessageSecurityMode.SignAndEncrypt],
    disableDiscovery: false,
    maxConnectionsPerEndpoint: 100,
    serverCapabilities: {
      maxSessions: 50,
      minSupportedSampleRate: 0, // and with it every change is a sample
      operationLimits: {
        maxNodesPerRead: limit,
        maxNodesPerWrite: limit,
        maxNodesPerBrowse: limit,
        maxNodesPerMethodCall: limit,
        maxNodesPerHistoryReadData: limit,
        maxNodesPerTranslateBrowsePathsToNodeIds: limit,
        maxMonitoredItemsPerCall: limit,
      },
    },
  });
  await server.initialize();
  build(server.engine.addressSpace);
  await server.start();
  const port = server.endpoints[0].port;
  process.stdout.write(`READY opc.tcp://127.0.0.1:${port}/plant\n`);
  process.stdin.on("end", () => process.exit(0)).on("data", (words) => {
    // "forget" ends all sessions with their subscriptions, "expire" ends the sessions only
    for (const word of String(words).trim().split("\n"))
      for (const session of Object.values(server.engine._sessions ?? {}))
        server.engine.closeSession(session.authenticationToken, word === "forget", "Terminated");
  });
}

function build(space) {
  const ns = space.registerNamespace("urn:uem:test:peer");
  const plant = ns.addObject({ organizedBy: space.rootFolder.objects, browseName: "Plant", eventNotifier: 1 });
  const variable = (browseName, dataType = "Double", more = {}) =>
    ns.addVariable({ componentOf: plant, browseName, nodeId: `s=${browseName}`, dataType, minimumSamplingInterval: 0, ...more });
  const set = (node, dataType, value, when, status = StatusCodes.Good) =>
    node.setValueFromSource({ dataType, value }, status, when);

  const tags = Array.from({ length: options.tags ?? 10 }, (_, i) => variable(`T${i}`));
  const counter = variable("Counter");
  const kept = variable("Kept");
  const wave = variable("Wave");
  const broken = variable("Broken");
  const text = variable("Text", "String");
  const writable = { accessLevel: "CurrentRead | CurrentWrite", userAccessLevel: "CurrentRead | CurrentWrite" };
  const setpoint = variable("Setpoint", "Double", { ...writable, eventSourceOf: plant });
  const level = ns.addAnalogDataItem({
    componentOf: plant,
    browseName: "Level",
    nodeId: "s=Level",
    dataType: "Double",
    engineeringUnitsRange: { low: 0, high: 200 },
  });
  if (options.history) space.installHistoricalDataNode(kept, { maxOnlineValues: options.history });
  const now = new Date();
  set(broken, DataType.Double, 7, now, StatusCodes.BadSensorFailure);
  set(text, DataType.String, "words", now);
  set(setpoint, DataType.Double, 10, now);
  let changes = 0;
  const change = () => {
    const when = new Date();
    tags.forEach((node, i) => set(node, DataType.Double, i + 10000 * changes, when));
    changes += 1;
  };
  change();
  if (options.everyMs) setInterval(change, options.everyMs);

  let count = 0;
  const tick = () => {
    count += 1;
    const when = new Date();
    set(counter, DataType.Double, count, when);
    set(kept, DataType.Double, count, when);
    const turn = count % 200;
    const height = turn <= 100 ? turn : 200 - turn;
    set(wave, DataType.Double, height, when);
    set(level, DataType.Double, height, when);
  };
  tick();
  if (options.counterMs) setInterval(tick, options.counterMs);

  const add = ns.addMethod(plant, {
    browseName: "Add",
    nodeId: "s=Add",
    inputArguments: ["a", "b"].map((name) => ({ name, dataType: DataType.Double })),
    outputArguments: [{ name: "sum", dataType: DataType.Double }],
  });
  add.bindMethod((given, context, callback) => {
    const sum = given[0].value + given[1].value;
    if (sum < 0) return callback(null, { statusCode: StatusCodes.BadOutOfRange });
    callback(null, { statusCode: StatusCodes.Good, outputArguments: [{ dataType: DataType.Double, value: sum }] });
  });
  space.installAlarmsAndConditionsService();
  ns.instantiateExclusiveLimitAlarm("ExclusiveLimitAlarmType", {
    browseName: "Alarm",
    conditionSource: setpoint,
    inputNode: setpoint,
    componentOf: plant,
    highHighLimit: 95,
    highLimit: 80,
    lowLimit: 5,
    lowLowLimit: 1,
  });
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
