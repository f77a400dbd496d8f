"""MQTT: numbers or JSON on plain topics, and the metrics of Sparkplug B edge nodes."""
