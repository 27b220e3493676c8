"""Causes the condition of each alert for real, waits until Prometheus says that it fires, mends the
condition, waits until it is resolved, and prints the timeline:

    WHIPSNAKE_LONG_TESTS=yes /usr/bin/python3 tests/deploy/alerts_timeline.py \\
      --binary build/release/whipsnake --source . --work /tmp

The rules are those of deploy/prometheus with shorter times. Daemon, Prometheus and load run on this
machine. As root the data directory is a small file system, so that it can be full. What could not
be caused is named at the end; an alert that does not fire or is not resolved is an error. SCENES
chooses some of the functions of alert_scenes.py.
"""
import contextlib
import os
import unittest

from monitoring import harness, skip_without_prometheus, wait_for
import alert_scenes
from alert_stage import Stage

PATIENCE = 120


def play(stage, scene, alerts):
    """Returns the alerts that did not fire or were not resolved."""
    print(f"\n{scene.__doc__}", flush=True)
    wrong, cause = [], scene(stage)
    with cause:
        begin = stage.now()
        for alert in alerts:
            try:
                found = wait_for(alert, lambda name=alert: stage.firing(name), PATIENCE)
                stage.say("firing", alert, found["annotations"]["description"])
            except AssertionError:
                stage.say("MISSING", alert)
                wrong.append(alert)
    stage.say("mended", "", f"{stage.now() - begin:.1f} s after the cause")
    for alert in alerts:
        try:
            wait_for(alert, lambda name=alert: stage.firing(name) is None, PATIENCE)
            stage.say("resolved", alert)
        except AssertionError:
            stage.say("STAYS", alert)
            wrong.append(alert)
    return wrong


def obstacle(stage, scene):
    """Returns why the alerts of a scene cannot be caused, or None."""
    chosen = os.environ.get("SCENES", "").split()
    if chosen and scene.__name__ not in chosen:
        return "its scene was not chosen"
    if scene is alert_scenes.full_disk and not stage.disk_is_small:
        return "only root can make a small file system"
    return None


def run():
    """Plays the scenes. Returns the alerts that did not fire or were not resolved, and for those
    that could not be caused the reason."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack)
        stage.daemon.upload("texts")
        wrong, reasons = [], {alert: "no scene causes it" for alert in stage.names}
        for scene, alerts in alert_scenes.SCENES:
            reason = obstacle(stage, scene)
            reasons.update(dict.fromkeys(alerts, reason))
            if reason:
                continue
            try:
                wrong += play(stage, scene, alerts)
            except PermissionError as error:
                reasons.update(dict.fromkeys(alerts, str(error)))
    return wrong, {alert: reason for alert, reason in reasons.items() if reason}


class Timeline(unittest.TestCase):
    def test_every_alert_fires_and_is_resolved(self):
        wrong, reasons = run()
        for alert, reason in reasons.items():
            print(f"not caused: {alert}: {reason}")
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    skip_without_prometheus()
    harness.main()
