"""mindeye2.data"""
