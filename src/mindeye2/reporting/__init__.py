"""mindeye2.reporting"""
