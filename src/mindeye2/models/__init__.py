"""mindeye2.models"""
