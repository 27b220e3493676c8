"""The panels of Grafana's dashboards as functions, and the frame of a dashboard.

A query is a pair of an expression and its legend. Every panel has a unit, a description, and a text
for when there is no data. The names of units are Grafana's.
"""
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24  # of Grafana's grid
GREEN, YELLOW, RED = "green", "#EAB839", "red"
# What queries select; Grafana puts regular expressions in the place of the variables.
SERVER = 'instance=~"$instance"'
MODEL = 'instance=~"$instance", model=~"$model"'


def rate(metric, selector, by):
    return f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))"


def ratio(numerator, denominator):
    return f"{numerator} / {denominator}"


def quantile(q, histogram, by="model", selector=MODEL):
    buckets = rate(histogram + "_bucket", selector, f"{by}, le" if by else "le")
    return f"histogram_quantile({q}, {buckets})"


def quantiles(histogram):
    """Returns queries of the median, the 95th and the 99th percentile for each model."""
    return [(quantile(q / 100, histogram), f"{{{{model}}}} p{q}") for q in (50, 95, 99)]


def steps(*thresholds):
    """Returns Grafana's thresholds of (color, value) pairs; the first one has no value."""
    return {"mode": "absolute",
            "steps": [{"color": color, "value": value} for color, value in thresholds]}


def _panel(kind, title, description, unit, queries, none, width, height):
    targets = [{"refId": chr(ord("A") + i), "expr": expression, "legendFormat": legend,
                "range": True} for i, (expression, legend) in enumerate(queries)]
    defaults = {"unit": unit, "noValue": none, "color": {"mode": "palette-classic"},
                "thresholds": steps((GREEN, None))}
    return {"type": kind, "title": title, "description": description, "datasource": DATA_SOURCE,
            "targets": targets, "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": {}, "gridPos": {"w": width, "h": height}}


def graph(title, description, unit, queries, none="No data", width=8, height=8, stack=False,
          minimum=0, maximum=None, limit=None):
    """Curves over time. `limit`: a threshold, shown as a red line."""
    panel = _panel("timeseries", title, description, unit, queries, none, width, height)
    defaults = panel["fieldConfig"]["defaults"]
    defaults["custom"] = {"lineWidth": 1, "fillOpacity": 25 if stack else 8, "showPoints": "never",
                          "stacking": {"mode": "normal" if stack else "none"}}
    if minimum is not None:
        defaults["min"] = minimum
    if maximum is not None:
        defaults["max"] = maximum
    if limit is not None:
        defaults["thresholds"] = steps((GREEN, None), (RED, limit))
        defaults["custom"]["thresholdsStyle"] = {"mode": "line"}
    panel["options"] = {"legend": {"displayMode": "table", "placement": "bottom",
                                   "calcs": ["lastNotNull", "max"]},
                        "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel


def stat(title, description, unit, queries, none="No data", width=4, height=4, thresholds=None,
         text="auto"):
    """The latest values as numbers. `text`: "name" shows the series' names instead."""
    panel = _panel("stat", title, description, unit, queries, none, width, height)
    defaults = panel["fieldConfig"]["defaults"]
    defaults["color"] = {"mode": "thresholds"}
    if thresholds:
        defaults["thresholds"] = thresholds
    panel["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value",
                        "graphMode": "none", "textMode": text}
    return panel


def heat_map(title, description, unit, histogram, selector=MODEL, none="No data", width=12,
             height=8):
    """How the values of a histogram are distributed, over time."""
    expression = f"sum by (le) (increase({histogram}_bucket{{{selector}}}[$__rate_interval]))"
    panel = _panel("heatmap", title, description, unit, [(expression, "{{le}}")], none, width,
                   height)
    panel["targets"][0]["format"] = "heatmap"
    panel["options"] = {"calculate": False, "yAxis": {"unit": unit}, "cellGap": 1,
                        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                        "legend": {"show": True}, "tooltip": {"show": True}}
    return panel


def states(title, description, queries, values, none="No data", width=12, height=6):
    """Bands that show the state of each series over time. `values` has a text and a color for each
    value."""
    panel = _panel("state-timeline", title, description, "none", queries, none, width, height)
    panel["fieldConfig"]["defaults"]["mappings"] = [{
        "type": "value", "options": {str(value): {"text": text, "color": color}
                                     for value, (text, color) in values.items()}}]
    panel["options"] = {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8}
    return panel


def _variable(name, label, query):
    return {"type": "query", "name": name, "label": label, "datasource": DATA_SOURCE,
            "query": {"query": query, "refId": name}, "definition": query, "multi": True,
            "includeAll": True, "allValue": ".*", "refresh": 2, "sort": 1,
            "current": {"text": "All", "value": "$__all"}}


def _variables():
    source = {"type": "datasource", "name": "datasource", "label": "Data source",
              "query": "prometheus",
              "current": {"text": "Prometheus", "value": "whipsnake-prometheus"}}
    return [source,
            _variable("instance", "Server", 'label_values(whipsnake_build_info, instance)'),
            _variable("model", "Model",
                      'label_values(whipsnake_model_state{instance=~"$instance"}, model)')]


def _place(rows):
    """Returns the panels of (title, panels) rows with their places in the grid and their ids."""
    placed, y = [], 0
    for title, panels in rows:
        placed.append({"type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}})
        x, y, height = 0, y + 1, 0
        for panel in panels:
            grid = panel["gridPos"]
            if x + grid["w"] > COLUMNS:
                x, y, height = 0, y + height, 0
            grid.update(x=x, y=y)
            x, height = x + grid["w"], max(height, grid["h"])
            placed.append(panel)
        y += height
    for number, panel in enumerate(placed, 1):
        panel["id"] = number
    return placed


def dashboard(uid, title, description, rows):
    link = {"type": "dashboards", "title": "Whipsnake", "tags": ["whipsnake"], "asDropdown": False,
            "includeVars": True, "keepTime": True, "icon": "external link", "targetBlank": False}
    return {"uid": uid, "title": title, "description": description, "tags": ["whipsnake"],
            "schemaVersion": 39, "editable": False, "graphTooltip": 1, "refresh": "15s",
            "time": {"from": "now-1h", "to": "now"}, "timezone": "browser", "links": [link],
            "templating": {"list": _variables()},
            "annotations": {"list": []}, "panels": _place(rows)}
