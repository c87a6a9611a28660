"""mindeye2.encoders"""
