"""Exact nearest neighbours, spanning trees and projections of unit vectors."""
