"""The relocalizer node on rclpy. Nothing else in this package imports ROS."""
