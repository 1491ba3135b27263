"""The drift report: what profiles, alerts and rejections say, as one page for people and as data for machines."""

from tidemill.report.build import build
from tidemill.report.material import Material, RejectionCounts
from tidemill.report.page import page
from tidemill.report.view import Report

__all__ = ["Material", "RejectionCounts", "Report", "build", "page"]
