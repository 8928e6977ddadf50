"""ROS messages without ROS: what the records of this package look like on a topic, and back.

Messages are handled by their fields, so that the same functions serve messages made by rclpy and
by rosbags. Which of the two makes new ones is the business of a `MessageFactory`.
"""
