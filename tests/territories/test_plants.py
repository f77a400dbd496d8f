"""Plants in territory files."""

import pytest

from uem.territories.load import load
from uem.twin_core.errors import InvalidTerritory
from uem.twin_core.plant.addresses import MbusAddress, ModbusAddress, MqttAddress


@pytest.fixture
def territory(tmp_path):
    def write(plant):
        (tmp_path / "tags.csv").write_text("tag,plant,browse_path,namespace_uri,unit\n")
        (tmp_path / "territory.toml").write_text(f'name = "t"\ntags = "tags.csv"\n[[plants]]\nname = "p"\n{plant}\n')
        return tmp_path / "territory.toml"

    return write


@pytest.mark.parametrize("protocol", ["", 'protocol = "opcua"'])
def test_a_plant_speaks_opc_ua_unless_the_file_says_otherwise(protocol, territory):
    path = territory(f'{protocol}\nendpoint = "opc.tcp://127.0.0.1:4840/p"')
    assert load(path).plants[0].protocol == "opcua"
    assert load(path).plants[0].endpoint == "opc.tcp://127.0.0.1:4840/p"


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        ('protocol = "smoke"\nendpoint = "smoke://hill"', r"plants\[0\]\.protocol: .*'opcua'.*'smoke'"),
        ('endpoint = "http://127.0.0.1"', r"plants\[0\]\.endpoint: .*opc\.tcp://host:port/path .*'http://127"),
        ('endpoint = "xopc.tcp://a:1"', r"plants\[0\]\.endpoint: .*opc\.tcp://host:port/path"),
        ('endpoint = "opc.tcp://"', r"plants\[0\]\.endpoint: .*opc\.tcp://host:port/path"),
    ],
)
def test_a_protocol_or_an_endpoint_that_does_not_fit_is_named(plant, said, territory):
    with pytest.raises(InvalidTerritory, match=said):
        load(territory(plant))


def test_a_plant_of_opc_ua_may_have_further_servers_with_the_same_data(territory):
    plant = 'endpoint = "opc.tcp://a:1"\nredundant_endpoints = ["opc.tcp://b:1"]'
    assert load(territory(plant)).plants[0].redundant_endpoints == ("opc.tcp://b:1",)
    with pytest.raises(InvalidTerritory, match=r"redundant_endpoints: .*opc\.tcp://host:port/path"):
        load(territory(plant.replace("opc.tcp://b", "http://b")))
    with pytest.raises(InvalidTerritory, match="only a plant of protocol opcua with an endpoint"):
        load(territory('protocol = "mqtt"\nendpoint = "mqtt://a"\nredundant_endpoints = ["mqtt://b"]'))


def test_a_plant_needs_an_endpoint_or_a_recording(territory):
    with pytest.raises(InvalidTerritory, match="needs an endpoint or a recording, or is simulated"):
        load(territory(""))


def test_a_tag_is_written_to_only_when_its_row_says_so(territory, tmp_path):
    path = territory('endpoint = "opc.tcp://127.0.0.1:4840/p"')
    rows = "tag,plant,browse_path,namespace_uri,unit,writable\na,p,A,u,K,true\nb,p,B,u,K,false\n"
    (tmp_path / "tags.csv").write_text(rows)
    assert [binding.writable for binding in load(path).tags] == [True, False]
    (tmp_path / "tags.csv").write_text(rows.replace("true", ""))
    assert [binding.writable for binding in load(path).tags] == [False, False]
    (tmp_path / "tags.csv").write_text(rows.replace("true", "perhaps"))
    with pytest.raises(InvalidTerritory, match="writable"):
        load(path)


def test_a_deadband_is_in_the_unit_that_people_read_and_a_queue_has_a_size(territory, tmp_path):
    path = territory('endpoint = "opc.tcp://127.0.0.1:4840/p"')
    head = "tag,plant,browse_path,namespace_uri,unit,display_unit,scale,deadband,deadband_percent,queue_size\n"
    (tmp_path / "tags.csv").write_text(
        head + "a,p,A,u,K,Cel,1,0.5,,\nb,p,B,u,W,kW,1,0.5,,1\nc,p,C,u,K,,1,,2.5,7\nd,p,D,u,K,,1,,,\n"
    )
    found = [(each.deadband, each.deadband_percent, each.queue_size) for each in load(path).tags]
    assert found == [(0.5, 0.0, 0), (500.0, 0.0, 1), (0.0, 2.5, 7), (0.0, 0.0, 0)]
    for row, wrong in [
        ("a,p,A,u,K,,1,1,1,", "has one of them"),
        ("a,p,A,u,K,,0,1,,", "scale is 0"),
        ("a,p,A,u,K,,1,-1,,", "deadband"),
        ("a,p,A,u,K,,1,inf,,", "deadband"),
        ("a,p,A,u,K,,1,,101,", "deadband_percent"),
        ("a,p,A,u,K,,1,,,-1", "queue_size"),
    ]:
        (tmp_path / "tags.csv").write_text(head + row + "\n")
        with pytest.raises(InvalidTerritory, match=wrong):
            load(path)


@pytest.fixture
def modbus(tmp_path):
    def write(header, row):
        (tmp_path / "tags.csv").write_text(f"tag,plant,unit,{header}\na,p,K,{row}\n")
        plant = 'name = "p"\nprotocol = "modbus"\nendpoint = "modbus.tcp://127.0.0.1:502"'
        (tmp_path / "territory.toml").write_text(f'name = "t"\ntags = "tags.csv"\n[[plants]]\n{plant}\n')
        return tmp_path / "territory.toml"

    return write


def test_tags_of_a_modbus_plant_have_registers(modbus):
    path = modbus("raw_unit,address,device,table,data_type,byte_order", "Cel,100,7,input,float32,CDAB")
    (binding,) = load(path).tags
    assert binding.address == ModbusAddress(
        address=100, device=7, table="input", data_type="float32", byte_order="CDAB"
    )
    assert (binding.scale, binding.offset, binding.sampling_ms) == (1.0, 273.15, 1000.0)


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("data_type", "int16", "tags.csv: column address is missing; columns are "),
        ("address,browse_path", "1,A/B", "tags.csv: unknown column browse_path; columns are "),
        ("address", "40001.5", "tags.csv line 2: address: .* integer"),
        ("address", "65536", "tags.csv line 2: address: .*65535"),
        ("address,data_type", "65535,float32", "line 2: data_type: .*from address 65535 this reaches beyond the last"),
        ("address,data_type", "1,float16", "line 2: data_type: .*'float32'.*'float16'"),
        ("address,table,writable", "1,input,true", "line 2: writable: .*only a coil, or whole registers"),
        ("address,bit,writable", "1,3,true", "line 2: writable: .*only a coil, or whole registers"),
        ("address,table,data_type", "1,coil,int16", "line 2: data_type: .*a coil is a bit by itself"),
        ("address,data_type,bit", "1,int32,3", "line 2: bit: .*only a uint16 has bits of its own"),
        ("address,bit", "1,16", "line 2: bit: .*15"),
    ],
)
def test_what_is_wrong_with_a_register_is_named(modbus, header, row, said):
    with pytest.raises(InvalidTerritory, match=said):
        load(modbus(header, row))


@pytest.fixture
def mbus(tmp_path):
    def write(header, row):
        (tmp_path / "tags.csv").write_text(f"tag,plant,{header}\na,p,{row}\n")
        plant = 'name = "p"\nprotocol = "mbus"\nendpoint = "mbus.tcp://127.0.0.1:10001"'
        (tmp_path / "territory.toml").write_text(f'name = "t"\ntags = "tags.csv"\n[[plants]]\n{plant}\n')
        return tmp_path / "territory.toml"

    return write


def test_tags_of_a_plant_with_meters_have_records_in_si(mbus):
    (binding,) = load(mbus("unit,meter,quantity,storage,tariff,function", "J,17,energy,1,2,maximum")).tags
    assert binding.address == MbusAddress(meter=17, quantity="energy", storage=1, tariff=2, function="maximum")
    assert (binding.scale, binding.offset, binding.sampling_ms) == (1.0, 0.0, 60_000.0)
    (binding,) = load(mbus("unit,meter,quantity,scale,display_unit", "kg/s,17,volume_flow,983,t/h")).tags
    assert (binding.scale, binding.address) == (983.0, MbusAddress(meter=17, quantity="volume_flow"))


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("unit,quantity", "J,energy", "tags.csv: column meter is missing; columns are "),
        ("unit,meter,quantity", "J,251,energy", "line 2: meter: .*250"),
        ("unit,meter,quantity", "J,1,heat", "line 2: quantity: .*'energy'.*'heat'"),
        ("unit,meter,quantity", "W,1,energy", "line 2: quantity: .*comes in J, not in W; the column scale"),
        ("unit,meter,quantity,raw_unit", "J,1,energy,MWh", "line 2: raw_unit: .*leave this out"),
        ("unit,meter,quantity,function", "J,1,energy,mean", "line 2: function: .*'instantaneous'"),
        ("unit,meter,quantity,tariff", "J,1,energy,-1", "line 2: tariff: .*0"),
    ],
)
def test_what_is_wrong_with_a_record_of_a_meter_is_named(mbus, header, row, said):
    with pytest.raises(InvalidTerritory, match=said):
        load(mbus(header, row))


def test_a_column_of_another_protocol_is_unknown_where_its_plant_is_not(modbus):
    path = modbus("address,browse_path,namespace_uri", "1,,")
    path.write_text(path.read_text() + '[[plants]]\nname = "q"\nendpoint = "opc.tcp://127.0.0.1:4840"\n')
    table = path.parent / "tags.csv"
    table.write_text(table.read_text() + "b,q,K,,B,urn:q\nc,q,K,7,C,urn:q\nd,p,K,,,\n")
    with pytest.raises(InvalidTerritory) as caught:
        load(path)
    unknown, missing = caught.value.problems
    assert unknown.startswith("tags.csv line 4: address: unknown key; allowed: tag, plant, ")
    assert missing == "tags.csv line 5: address: Field required"


@pytest.fixture
def mqtt(modbus):
    def write(header, row):
        path = modbus(header, row)
        path.write_text(
            path.read_text().replace('"modbus"', '"mqtt"').replace("modbus.tcp://127.0.0.1:502", "mqtt://h")
        )
        return path

    return write


@pytest.mark.parametrize(
    ("header", "row", "address"),
    [
        (
            "topic,field,time_field",
            "hall/air,values.0,t",
            MqttAddress(topic="hall/air", field="values.0", time_field="t"),
        ),
        ("topic,metric", "works/edge/hall,Air/Temp", MqttAddress(topic="works/edge/hall", metric="Air/Temp")),
    ],
)
def test_tags_of_an_mqtt_plant_have_topics(mqtt, header, row, address):
    (binding,) = load(mqtt(header, row)).tags
    assert binding.address == address


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("metric", "m", "tags.csv: column topic is missing"),
        ("topic", "hall/#", "line 2: topic: .*pattern"),
        ("topic,metric", "hall,m", "line 2: metric: .*group/node or group/node/device"),
        ("topic,metric", "hall//x,m", "line 2: metric: .*group/node or group/node/device"),
        ("topic,metric,field", "g/n,m,x", "line 2: metric: .*field and time_field are of JSON messages"),
    ],
)
def test_what_is_wrong_with_a_topic_is_named(mqtt, header, row, said):
    with pytest.raises(InvalidTerritory, match=said):
        load(mqtt(header, row))


def test_a_recording_cannot_be_played_through_a_protocol_without_a_simulated_plant(territory):
    recording = '[plants.recording]\nfile = "x.csv"\ntime_column = "t"\nepoch = 2020-01-01T00:00:00Z'
    with pytest.raises(InvalidTerritory, match="no simulated plant that speaks modbus"):
        load(territory(f'protocol = "modbus"\nendpoint = "modbus.tcp://h:502"\n{recording}'))


def test_a_replayed_plant_needs_a_recording_and_has_no_endpoint(territory):
    with pytest.raises(InvalidTerritory, match="protocol replay needs a recording"):
        load(territory('protocol = "replay"'))
    with pytest.raises(InvalidTerritory, match="it plays back the recording of the plant"):
        load(territory('protocol = "replay"\nendpoint = "opc.tcp://a:1"'))


def test_a_password_in_an_endpoint_is_refused_and_not_told(territory):
    with pytest.raises(InvalidTerritory, match="never belongs into this file") as found:
        load(territory('protocol = "mqtt"\nendpoint = "mqtt://gateway:sesame@127.0.0.1"'))
    assert "sesame" not in str(found.value)
