"""mindeye2.metrics"""
