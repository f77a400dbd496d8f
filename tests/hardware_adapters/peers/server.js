// An OPC UA server of an independent stack (node-opcua), as a plant to test the client against.
//
//   node server.js '{"port": 0, "folder": "...", "tags": 10, "everyMs": 0, "counterMs": 20, "limit": 100}'
//
// `folder` has certificate.pem and key.pem of the server and trusted.der of the one client that is let in. It prints one line,
// "READY <endpoint>", and lives until its standard input is closed; the words
// "forget" and "expire" there end sessions, of which it lets in `sessions` at a time (50). Everything stands below Objects/Plant:
//
//   T0, T1, ...       doubles, their own number plus a count of changes, written every `everyMs` (0: once)
//   Counter, Kept     count up together every `counterMs`; Kept has a history of `history` values
//   Wave              a triangle of 0 to 100 and back, one step with every count
//   Level             the same with a range of 0 to 200, for percent deadbands
//   Feed, Power       analog items with unit and range: degree Celsius, 0 to 120; kilowatt, 0 to 500
//   Broken            BadSensorFailure with a value; Text: a string; Setpoint: writable
//   Short, Switch, Single, Wait, Any, Row    writable: Int16, Boolean, Float, Duration, Number, an array of Double
//   Clamped           takes every value and has at most 50; Deaf: answers a write after 30 s, and counts it in Writes
//   Add(a, b)         a method; Alarm: an exclusive limit alarm upon Setpoint
"use strict";
const path = require("path");
const fs = require("fs");
const {
  DataType,
  DataValue,
  MessageSecurityMode,
  OPCUACertificateManager,
  OPCUAServer,
  SecurityPolicy,
  StatusCodes,
  Variant,
  makeEUInformation,
  standardUnits,
} = require("node-opcua");

const options = JSON.parse(process.argv[2]);

async function main() {
  const manager = new OPCUACertificateManager({
    automaticallyAcceptUnknownCertificate: false,
    rootFolder: path.join(options.folder, "node-pki"),
  });
  await manager.initialize();
  await manager.trustCertificate(fs.readFileSync(path.join(options.folder, "trusted.der")));
  const users = new OPCUACertificateManager({
    automaticallyAcceptUnknownCertificate: false,
    rootFolder: path.join(options.folder, "node-user-pki"),
  });
  await users.initialize();
  if (options.user) await users.trustCertificate(fs.readFileSync(options.user));
  const limit = options.limit ?? 100;
  const server = new OPCUAServer({
    hostname: "127.0.0.1",
    port: options.port ?? 0,
    resourcePath: "/plant",
    allowAnonymous: options.anonymous ?? true,
    certificateFile: path.join(options.folder, "certificate.pem"),
    privateKeyFile: path.join(options.folder, "key.pem"),
    serverCertificateManager: manager,
    userCertificateManager: users,
    userManager: { isValidUser: (name, password) => name === "operator" && password === "secret" },
    serverInfo: { applicationUri: options.uri },
    buildInfo: { productName: "plant of the tests" },
    securityPolicies: options.open
      ? [SecurityPolicy.None]
      : [SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes256_Sha256_RsaPss],
    securityModes: [options.open ? MessageSecurityMode.None : MessageSecurityMode.SignAndEncrypt],
    disableDiscovery: false,
    maxConnectionsPerEndpoint: 100,
    serverCapabilities: {
      maxSessions: options.sessions ?? 50,
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
  const plant = ns.addObject({
    organizedBy: space.rootFolder.objects,
    browseName: "Plant",
    eventNotifier: 1,
    notifierOf: space.rootFolder.objects.server,
  });
  const variable = (browseName, dataType = "Double", more = {}) =>
    ns.addVariable({ componentOf: plant, browseName, nodeId: `s=${browseName}`, dataType, minimumSamplingInterval: 0, ...more });
  const set = (node, dataType, value, when, status = StatusCodes.Good) =>
    node.setValueFromSource({ dataType, value }, status, when);

  const now = new Date();
  const writable = { accessLevel: "CurrentRead | CurrentWrite", userAccessLevel: "CurrentRead | CurrentWrite" };
  const tags = Array.from({ length: options.tags ?? 10 }, (_, i) =>
    variable(`T${i}`, "Double", options.writableTags ? writable : {}),
  );
  const counter = variable("Counter");
  const kept = variable("Kept");
  const wave = variable("Wave");
  const broken = variable("Broken");
  const text = variable("Text", "String");
  const setpoint = variable("Setpoint", "Double", { ...writable, eventSourceOf: plant });
  set(variable("Short", "Int16", writable), DataType.Int16, 0, new Date());
  set(variable("Switch", "Boolean", writable), DataType.Boolean, false, new Date());
  set(variable("Single", "Float", writable), DataType.Float, 0, new Date());
  set(variable("Wait", "Duration", writable), DataType.Double, 0, new Date());
  set(variable("Any", "Number", writable), DataType.UInt16, 0, new Date());
  variable("Row", "Double", { ...writable, valueRank: 1, arrayDimensions: [3] });
  set(variable("Locked", "Double", { accessLevel: "CurrentRead" }), DataType.Double, 0, new Date());
  const userOnly = { accessLevel: "CurrentRead | CurrentWrite", userAccessLevel: "CurrentRead" };
  set(variable("Theirs", "Double", userOnly), DataType.Double, 0, new Date());
  let clamped = 0;
  variable("Clamped", "Double", writable).bindVariable({
    get: () => new Variant({ dataType: DataType.Double, value: clamped }),
    set: (given) => ((clamped = Math.min(50, given.value)), StatusCodes.Good),
  }, true);
  variable("Refusing", "Double", writable).bindVariable({
    get: () => new Variant({ dataType: DataType.Double, value: 1 }),
    set: () => StatusCodes.BadDeviceFailure,
  }, true);
  let writes = 0;
  variable("Writes").bindVariable({ get: () => new Variant({ dataType: DataType.Double, value: writes }) });
  variable("Deaf", "Double", writable).bindVariable({
    timestamped_get: (callback) =>
      callback(null, new DataValue({ value: { dataType: DataType.Double, value: 0 }, sourceTimestamp: now })),
    timestamped_set: (given, callback) => ((writes += 1), setTimeout(() => callback(null, StatusCodes.Good), 30000)),
  }, true);
  const level = ns.addAnalogDataItem({
    componentOf: plant,
    browseName: "Level",
    nodeId: "s=Level",
    dataType: "Double",
    engineeringUnitsRange: { low: 0, high: 200 },
  });
  const measured = (browseName, low, high, unit) =>
    ns.addAnalogDataItem({
      componentOf: plant,
      browseName,
      nodeId: `s=${browseName}`,
      dataType: "Double",
      engineeringUnitsRange: { low, high },
      engineeringUnits: unit,
    });
  set(measured("Feed", 0, 120, standardUnits.degree_celsius), DataType.Double, 70, now);
  set(measured("Power", 0, 500, makeEUInformation("KWT", "kW", "kilowatt")), DataType.Double, 200, now);
  if (options.history) space.installHistoricalDataNode(kept, { maxOnlineValues: options.history });
  set(broken, DataType.Double, 7, now, StatusCodes.BadSensorFailure);
  set(text, DataType.String, "words", now);
  set(setpoint, DataType.Double, 10, now);
  // A Date has whole milliseconds, of which timers may run twice in one: no two stamps are alike.
  let last = 0;
  const stamp = () => new Date((last = Math.max(Date.now(), last + 1)));
  let changes = 0;
  const change = () => {
    const when = stamp();
    tags.forEach((node, i) => set(node, DataType.Double, i + 10000 * changes, when));
    changes += 1;
  };
  change();
  if (options.everyMs) setInterval(change, options.everyMs);

  let count = 0;
  const tick = () => {
    count += 1;
    const when = stamp();
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
  const mix = ns.addMethod(plant, {
    browseName: "Mix",
    inputArguments: [
      { name: "parts", dataType: DataType.Double, valueRank: 1 },
      { name: "times", dataType: DataType.UInt16 },
      { name: "really", dataType: DataType.Boolean },
      { name: "note", dataType: DataType.String },
    ],
    outputArguments: [{ name: "said", dataType: DataType.String }],
  });
  mix.bindMethod((given, context, callback) => {
    const [parts, times, really, note] = given.map((each) => each.value);
    const said = `${Array.from(parts).join("+")} ${times} ${really} ${note}`;
    callback(null, { statusCode: StatusCodes.Good, outputArguments: [{ dataType: DataType.String, value: said }] });
  });
  const wait = ns.addMethod(plant, { browseName: "Sleep", inputArguments: [], outputArguments: [] });
  wait.bindMethod((given, context, callback) => {
    setTimeout(() => callback(null, { statusCode: StatusCodes.Good, outputArguments: [] }), 30000);
  });
  space.installAlarmsAndConditionsService();
  ns.instantiateExclusiveLimitAlarm("ExclusiveLimitAlarmType", {
    browseName: "Alarm",
    nodeId: "s=Alarm",
    conditionSource: setpoint,
    inputNode: setpoint,
    componentOf: plant,
    conditionName: "Setpoint out of limits",
    optionals: ["ConfirmedState", "Confirm"],
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
