"""What watches the processes: scrape configuration and alert rules for Prometheus, a dashboard for Grafana."""
